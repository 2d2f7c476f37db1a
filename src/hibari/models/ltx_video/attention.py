"""LTX-Video's attention with one projection where diffusers has two or three, and over tokens that may be divided among
processes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from hibari.models.layers import fused
from hibari.models.parallel import Tokens


def install(network: Any, tokens: Tokens) -> None:
    """Give every block of an `LTXVideoTransformer3DModel` this attention."""
    for block in network.transformer_blocks:
        block.attn1.to_qkv = fused(block.attn1, "to_q", "to_k", "to_v")
        block.attn2.to_kv = fused(block.attn2, "to_k", "to_v")
        block.attn1.set_processor(SelfAttention(tokens))
        block.attn2.set_processor(CrossAttention())


class SelfAttention:
    """Over all tokens of the clip; the rotation goes over all heads together."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """[B, S, D] to the same."""
        from diffusers.models.transformers.transformer_ltx import apply_rotary_emb

        query, key, value = attn.to_qkv(hidden_states)
        query = apply_rotary_emb(attn.norm_q(query), image_rotary_emb)
        key = apply_rotary_emb(attn.norm_k(key), image_rotary_emb)
        heads = [x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value)]
        return attn.to_out[0](self._tokens.attend(*heads).transpose(1, 2).flatten(2))


class CrossAttention:
    """From tokens to the words, which every process has."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """[B, S, D] from tokens [B, S, D] to words [B, L, D]; the mask [B, 1, L] is what is added."""
        key, value = attn.to_kv(encoder_hidden_states)
        query, key = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(key)
        heads = [x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value)]
        mask = None if attention_mask is None else attention_mask[:, None]
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))
