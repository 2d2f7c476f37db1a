"""CogVideoX's attention with one projection instead of three, and over tokens that may be divided among processes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hibari.models.layers import fused
from hibari.models.parallel import Tokens, divide


def install(network: Any, tokens: Tokens) -> None:
    """Give every block of a `CogVideoXTransformer3DModel` this attention."""
    for block in network.transformer_blocks:
        block.attn1.to_qkv = fused(block.attn1, "to_q", "to_k", "to_v")
        block.attn1.set_processor(JointAttention(tokens))
    if tokens.processes > 1:
        divide(network, tokens)


class JointAttention:
    """Over words and tokens together."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, S, D] and words [B, L, D] to the same."""
        from diffusers.models.embeddings import apply_rotary_emb

        words = encoder_hidden_states.shape[1]
        joint = torch.cat([encoder_hidden_states, hidden_states], 1)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in attn.to_qkv(joint))
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            for x in (query, key):
                x[:, :, words:] = apply_rotary_emb(x[:, :, words:], cast("Any", image_rotary_emb))
        mixed = self._tokens.attend(query, key, value, shared=words)
        out = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out[:, words:], out[:, :words]
