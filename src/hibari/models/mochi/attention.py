"""Mochi 1's attention with one projection instead of three, over tokens that may be divided among processes.

How many words a row has is told once a forward pass: asking the mask in every block makes the processor wait for the
GPU each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hibari.models.layers import fused
from hibari.models.parallel import Tokens, divide


class Attention:
    """Over words and tokens together; padding takes no part, and comes out as 0.

    Attributes:
        words: how many words each row of the next forward pass has; they come first, and padding after them.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.words: Sequence[int] = ()

    def install(self, network: Any) -> None:
        """Into every block of a `MochiTransformer3DModel`."""
        for block in network.transformer_blocks:
            block.attn1.to_qkv = fused(block.attn1, "to_q", "to_k", "to_v")
            block.attn1.add_qkv_proj = fused(block.attn1, "add_q_proj", "add_k_proj", "add_v_proj")
            block.attn1.processor = self
        if self._tokens.processes > 1:
            divide(network, self._tokens)
            network.rope.register_forward_hook(
                lambda _, _args, tables: tuple(self._tokens.own(table, 0) for table in tables)
            )

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, S, D] and words [B, L, D of words] to the same."""
        video_3BSNE = [x.unflatten(-1, (attn.heads, -1)) for x in attn.to_qkv(hidden_states)]
        text_3BLNE = [x.unflatten(-1, (attn.heads, -1)) for x in attn.add_qkv_proj(encoder_hidden_states)]
        video = (
            rotate(attn.norm_q(video_3BSNE[0]), image_rotary_emb),
            rotate(attn.norm_k(video_3BSNE[1]), image_rotary_emb),
            video_3BSNE[2],
        )
        text = attn.norm_added_q(text_3BLNE[0]), attn.norm_added_k(text_3BLNE[1]), text_3BLNE[2]
        mixed: list[Tensor] = []
        said = video[0].new_zeros(text[0].shape)
        for row, words in enumerate(self.words):
            one = slice(row, row + 1)
            joint = [
                torch.cat([t[one, :words], v[one]], 1).transpose(1, 2)
                for t, v in zip(text, video, strict=True)
            ]
            out_BSNE = self._tokens.attend(*joint, shared=words).transpose(1, 2)
            said[one, :words] = out_BSNE[:, :words]
            mixed.append(out_BSNE[:, words:])
        tokens = attn.to_out[0](torch.cat(mixed).flatten(2))
        words_BLD = said.flatten(2)
        return tokens, words_BLD if attn.context_pre_only else attn.to_add_out(words_BLD)


def rotate(x_BSNE: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of neighbouring features by its token's and its head's angle, in float32."""
    cos_SNE, sin_SNE = table
    even, odd = x_BSNE.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos_SNE - odd * sin_SNE, even * sin_SNE + odd * cos_SNE], -1)
    return turned.flatten(-2).to(x_BSNE.dtype)
