"""The mathematics from noise to data: the convention, schedules, samplers, guidance. Knows no model."""
