"""Both transformers of Pyramid Flow give what the authors' give, although they see no mask and no padding."""

from __future__ import annotations

import pytest
import torch
from pyramid_golden import golden

NAMES = ["pyramid_miniflux", "pyramid_sd3"]


def inputs(tensors, row):
    """Clips, timestep, text without padding and pooled text of a row."""
    clips = [tensors[f"forward.clip_{index}"][row : row + 1] for index in range(4)]
    text = tensors["forward.text"][row : row + 1, : tensors["forward.mask"][row].sum()]
    return clips, tensors["forward.timestep"][row : row + 1], text, tensors["forward.pooled"][row : row + 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("row", [0, 1])
def test_velocity_after_a_history_equals_the_reference(name, row):
    model = golden(name)
    velocity, _ = model.network(*inputs(model.tensors, row))
    expected = model.tensors["forward.velocity"][row : row + 1]
    torch.testing.assert_close(velocity, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_pass_over_kept_frames_equals_the_whole(name, keep):
    """Also where frames are kept in two goes."""
    model = golden(name)
    clips, *rest = inputs(model.tensors, 1)
    whole, _ = model.network(clips, *rest)
    small = [clips[0][:, :, :1], clips[0][:, :, 1:], *clips[1:]]  # one frame a clip
    _, kept = model.network([*small[:keep], clips[-1]], *rest, keep=1)
    if keep > 1:
        _, kept = model.network([*small[1:keep], clips[-1]], *rest, past=kept, keep=keep)
    assert kept.frames == keep
    assert kept.keys_values[0][0].shape[2] == rest[1].shape[1] + sum(
        clip.shape[3] * clip.shape[4] // 4 for clip in small[:keep]
    )
    after, _ = model.network(small[keep:], *rest, past=kept)
    torch.testing.assert_close(after, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_two_rows_give_what_each_gives_alone(name):
    model = golden(name)
    rows = [inputs(model.tensors, row) for row in (0, 1)]
    length = min(text.shape[1] for _, _, text, _ in rows)
    alone = [
        model.network(clips, timestep, text[:, :length], pooled)[0] for clips, timestep, text, pooled in rows
    ]
    (one, two) = rows
    together, _ = model.network(
        [torch.cat(pair) for pair in zip(one[0], two[0], strict=True)],
        torch.cat([one[1], two[1]]),
        torch.cat([one[2][:, :length], two[2][:, :length]]),
        torch.cat([one[3], two[3]]),
    )
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_picture_larger_than_the_table_is_refused():
    model = golden("pyramid_sd3")
    _, *rest = inputs(model.tensors, 0)
    with pytest.raises(ValueError, match="12 a side"):
        model.network([torch.zeros(1, 4, 1, 26, 8)], *rest)
