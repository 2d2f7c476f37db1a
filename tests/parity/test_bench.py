"""Defends: `hibari bench` measures ours and diffusers on the same thing, in processes of their own, and says what it
cannot measure. The models are tiny: their figures mean nothing, their equality does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hibari.bench.compare import UNITS, Report
from hibari.bench.measure import Wish, flops_of, ours, reference
from hibari.bench.random import RANDOM, write
from hibari.cli.app import app, main
from pulled_folder import sign

CPU = torch.device("cpu")
# The reference asks for an autocast that a processor does not have.
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


@pytest.mark.parametrize("family", ["ltx_video", "cogvideox", "mochi"])
def test_both_sides_make_the_same_clip_and_count_the_same_work(family: str, tmp_path: Path) -> None:
    name = f"{family}-tiny"
    write(name, tmp_path)
    wish = Wish(str(tmp_path), RANDOM[name].size, RANDOM[name].frames, steps=1, guidance=3.0)
    our_cost, our_latent = ours(wish, CPU, count_flops=True)
    their_cost, their_latent = reference(wish, CPU, count_flops=True)
    assert our_latent.std() > 0.1
    torch.testing.assert_close(our_latent, their_latent, atol=1e-4, rtol=0)
    # What is fused or left out is small: the padding of Mochi's prompts, which takes no part in attention.
    assert 0.9 < their_cost.step_flops / our_cost.step_flops < 1.1
    for cost in (our_cost, their_cost):
        assert min(cost.step_s, cost.decode_s) > 0
        assert min(cost.step_peak_bytes, cost.decode_peak_bytes) > 2**26  # torch alone takes more
        assert 0 <= cost.decode_added_bytes < cost.decode_peak_bytes


def test_work_is_counted_as_it_is_by_hand() -> None:
    x = torch.randn(2, 4, 10, 8)
    with torch.inference_mode():
        # Two products of [10, 8] and [8, 10] for each of 8 heads, two operations for each product of numbers.
        assert (
            flops_of(lambda: torch.nn.functional.scaled_dot_product_attention(x, x, x))
            == 2 * 2 * 8 * 10 * 10 * 8
        )
        assert flops_of(lambda: x @ x.mT) == 2 * 8 * 10 * 10 * 8


def test_the_command(tmp_path: Path) -> None:
    wanted = [
        "bench",
        "--random",
        "ltx_video-tiny",
        "--steps",
        "1",
        "--repeat",
        "1",
        "--against",
        "diffusers",
    ]
    said = CliRunner().invoke(app, [*wanted, "--json"], catch_exceptions=False)
    report = json.loads(said.output)
    assert set(report["runs"]) == {"ours", "diffusers"}
    assert report["latent_difference"] < 1e-4
    assert report["ratios"]["step_s"]["median"] > 0
    assert report["medians"]["ours"]["step_flops"] > 1e6


def test_what_was_pulled_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("ltx_video-tiny", tmp_path / "ltx")
    sign(tmp_path / "ltx")
    monkeypatch.setenv("HIBARI_MODELS", str(tmp_path))

    def measured(wish: Wish, against: str | None, **_: object) -> Report:
        return Report(wish, "a machine", {"ours": [dict.fromkeys(UNITS, 1.0)]}, None)

    monkeypatch.setattr("hibari.bench.compare.compare", measured)
    assert main(["bench", "--model", "ltx", "--against", "diffusers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wish"]["model"] == str(tmp_path / "ltx")


def test_pyramid_flow_has_its_gains_measured() -> None:
    """Each beside the plain way, which gives the same."""
    wanted = ["bench", "--random", "pyramid_flow-tiny", "--repeat", "1"]
    said = CliRunner().invoke(app, [*wanted, "--json"], catch_exceptions=False)
    gains = json.loads(said.output)["gains"]
    assert len(gains) == 4
    for gain in gains:
        assert gain["difference"] < 1e-5, gain["name"]
        assert gain["ratio"]["median"] > 0


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--model", "mini", "--against", "diffusers"], "nothing to measure mini against"),
        (["--model", "mini", "--random", "mochi"], "not both"),
        (["--random", "sora"], "there are ltx_video, cogvideox, mochi, pyramid_flow"),
        (["--random", "pyramid_flow", "--against", "diffusers"], "leave out --against"),
        (["--model", "mini", "--against", "magic"], "against is 'magic'"),
    ],
)
def test_what_cannot_be_measured(options: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *options]) == 2
    assert wanted in capsys.readouterr().err
