"""Defends: the table can be read without torch, every row holds together, and a wrong name gets help."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hibari import catalog
from hibari.contracts import InvalidRequest, UnknownModel


@pytest.mark.parametrize("name", catalog.names())
def test_a_row_holds_together(name: str) -> None:
    spec = catalog.spec(name)
    assert spec.name == name
    for width, height in spec.sizes:
        assert width % spec.space_factor == 0
        assert height % spec.space_factor == 0
    assert 0 <= spec.window_overlap < spec.window_frames
    assert 0 <= spec.default_seconds <= spec.max_seconds
    assert 0 <= spec.guidance_interval[0] <= spec.guidance_interval[1] <= 1
    assert spec.max_seconds >= 10, "the product promises ten seconds"


@pytest.mark.parametrize("name", ["minni", "Mini", "MINI"])
def test_a_slip_gets_the_nearest_name(name: str) -> None:
    with pytest.raises(UnknownModel, match=r"did you mean mini\?.*mini, mini-fast, testcard"):
        catalog.spec(name)


def test_an_unknown_name_gets_the_list() -> None:
    with pytest.raises(
        InvalidRequest, match="no model 'sora'; known models: mini, mini-fast, testcard"
    ) as caught:
        catalog.spec("sora")
    assert caught.value.field == "model"


def test_testcard_loads() -> None:
    import torch

    model = catalog.load("testcard", device=torch.device("cpu"))
    assert model.spec == catalog.spec("testcard")
    assert model.weights_sha256 is None


def test_what_the_server_reads_does_not_import_torch() -> None:
    script = (
        "import sys, hibari.catalog, hibari.contracts, hibari.media, hibari.settings, hibari.cli;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
