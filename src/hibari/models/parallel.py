"""One row of a forward pass in several processes: each computes a part of its tokens.

Nearly all of a transformer works token by token. Attention does not: around it the processes exchange their tokens'
queries, keys and values, so that each has all tokens of its share of the heads, and exchange the outcome back (Jacobs
et al., "DeepSpeed Ulysses", 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class Tokens:
    """How the tokens of a row are divided among the processes of a group; by default there is one, which has all.

    The sequence need not divide evenly: the first processes then have one token more.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.processes = dist.get_world_size(group) if group else 1
        self._rank = dist.get_rank(group) if group else 0
        self._counts = [0]  # tokens of each process, of the sequence in work

    def own(self, x: Tensor, dim: int = 1) -> Tensor:
        """This process's tokens of all, which lie along `dim`."""
        parts = x.tensor_split(self.processes, dim)
        self._counts = [part.shape[dim] for part in parts]
        return parts[self._rank]

    def whole(self, own_BSD: Tensor) -> Tensor:
        """All tokens [B, S, D], in every process, of each one's own."""
        if self.processes == 1:
            return own_BSD
        batch, _, width = own_BSD.shape
        parts = self._exchange([own_BSD] * self.processes, [(batch, n, width) for n in self._counts])
        return torch.cat(parts, 1)

    def attend(self, query_BNSE: Tensor, key_BNSE: Tensor, value_BNSE: Tensor, shared: int = 0) -> Tensor:
        """Scaled dot-product attention over all tokens: [B, N, S, E] for this process's.

        Args:
            shared: how many tokens, the first ones, every process has, as those of a text; the others are its own.
        """
        if self.processes == 1:
            return F.scaled_dot_product_attention(query_BNSE, key_BNSE, value_BNSE)
        mine_3BNSE = torch.stack([query_BNSE, key_BNSE, value_BNSE])
        _, batch, heads, _, width = mine_3BNSE.shape
        share = heads // self.processes
        common = mine_3BNSE[:, :, self._rank * share : (self._rank + 1) * share, :shared]
        parts = self._exchange(
            list(mine_3BNSE[..., shared:, :].split(share, 2)),
            [(3, batch, share, n, width) for n in self._counts],
        )
        query_BNSE, key_BNSE, value_BNSE = torch.cat([common, *parts], 3)
        joint_BNSE = F.scaled_dot_product_attention(query_BNSE, key_BNSE, value_BNSE)
        text, *tokens = joint_BNSE.split([shared, *self._counts], 2)
        here = shared + self._counts[self._rank]
        back = self._exchange(
            [torch.cat([text, part], 2) for part in tokens], [(batch, share, here, width)] * self.processes
        )
        return torch.cat(back, 1)

    def _exchange(self, parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Part k to process k; from each process the tensor of the shape that is said."""
        sent = torch.cat([part.reshape(-1) for part in parts])
        sizes = [torch.Size(shape).numel() for shape in shapes]
        got = sent.new_empty(sum(sizes))
        dist.all_to_all_single(got, sent, sizes, [part.numel() for part in parts], group=self._group)
        return [piece.view(shape) for piece, shape in zip(got.split(sizes), shapes, strict=True)]


def divide(network: Any, tokens: Tokens) -> None:
    """Let a transformer of diffusers work on its own tokens, from its first block to its last layer."""

    def own(_: object, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"hidden_states": tokens.own(kwargs["hidden_states"])}

    network.transformer_blocks[0].register_forward_pre_hook(own, with_kwargs=True)
    network.proj_out.register_forward_hook(lambda _, _args, own_BSD: tokens.whole(own_BSD))
