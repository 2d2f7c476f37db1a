"""Says from the pixels whether a clip shows what its prompt asked for.

`suite` holds the prompts, `network` and `weights` the evaluator, `lessons` and `fitting` what it learned from
and how, `metrics` the figures that need no truth, `report` puts them together.
"""

from hibari.training.evaluate.report import Report, clips_of, run_suite
from hibari.training.evaluate.suite import SUITES, Case, cases

__all__ = ["SUITES", "Case", "Report", "cases", "clips_of", "run_suite"]
