"""Pyramid Flow (Jin et al. 2024): a video made frame by frame, each from a small picture to a large one."""
