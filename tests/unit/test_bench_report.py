"""Defends: ratios are of pairs that ran one after the other, and the table says what the numbers say."""

from __future__ import annotations

from hibari.bench.compare import UNITS, Report
from hibari.bench.measure import Wish


def test_ratios_and_table() -> None:
    ours = [dict.fromkeys(UNITS, 2.0), dict.fromkeys(UNITS, 4.0) | {"step_flops": 0}]
    theirs = [dict.fromkeys(UNITS, 3.0), dict.fromkeys(UNITS, 8.0) | {"step_flops": 0}]
    report = Report(
        Wish("models/some", (64, 32), 9, 4, 3.0), "a machine", {"ours": ours, "diffusers": theirs}, 1e-6
    )
    ratio = report.ratio("step_s")
    assert ratio
    assert (ratio.least, ratio.median, ratio.most) == (1.5, 1.75, 2.0)
    assert report.of("ours", "step_s") == 3
    assert report.of("ours", "step_flops") == 2
    lines = report.markdown().splitlines()
    assert lines[0] == "|  | ours | diffusers | ratio (least to most) |"
    assert lines[2] == "| a step | 3 s | 5.5 s | 1.75 (1.50 to 2.00) |"
    assert "differ by at most 1.0e-06" in lines[-1]
    assert report.as_dict()["ratios"]["step_flops"]["median"] == 1.5


def test_one_side_has_no_ratio() -> None:
    report = Report(
        Wish("mini", (64, 32), 9, 4, 1.0), "a machine", {"ours": [dict.fromkeys(UNITS, 2.0)]}, None
    )
    assert report.ratio("step_s") is None
    assert report.markdown().splitlines()[0] == "|  | ours |"
