"""Rows of a forward pass for which, in some blocks, tokens see nothing but themselves: each gets its own value back
instead of a mean over all tokens. The authors call the guidance that takes it "attention values"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor


@contextmanager
def skipped(network: Any, rows_BK: Tensor | None) -> Iterator[None]:
    """Run an `LTXVideoTransformer3DModel` so: for each row and block, whether its self-attention is skipped; None for
    no row."""
    hooks: list[Any] = []
    for block, rows_B in zip(network.transformer_blocks, () if rows_BK is None else rows_BK.T, strict=False):
        if rows_B.any():
            hook = partial(_values_instead, rows_B)
            hooks.append(block.attn1.register_forward_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _values_instead(
    rows_B: Tensor, attention: Any, _: object, kwargs: dict[str, Any], mixed_BSD: Tensor
) -> Tensor:
    token_BSD = kwargs["hidden_states"][rows_B]
    fused = getattr(attention, "to_qkv", None)
    value_BSD = attention.to_v(token_BSD) if fused is None else fused(token_BSD)[2]
    mixed_BSD = mixed_BSD.clone()
    mixed_BSD[rows_B] = attention.to_out[0](value_BSD)
    return mixed_BSD
