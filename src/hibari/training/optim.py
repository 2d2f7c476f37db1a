"""Muon for matrices, AdamW for the rest, and weights averaged over the run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def orthogonalised(gradient: Tensor, iterations: int = 5) -> Tensor:
    """The nearest matrix with all singular values about 1, by a quintic Newton-Schulz iteration.

    Keller Jordan's Muon (2024): x <- (a + b G + c G^2) x with G = x x^T. All factors are polynomials of the first G
    and commute, so the iteration runs on the small square G alone and multiplies x once, at the end. In float32:
    torch's own Muon rounds to bfloat16, which CPUs without it pay for with minutes a step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    if gradient.shape[0] > gradient.shape[1]:
        return orthogonalised(gradient.T, iterations).T
    x = gradient / (gradient.norm() + 1e-7)
    gram = x @ x.T
    diagonal = a * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = None
    for iteration in range(iterations):
        factor = torch.addmm(diagonal + b * gram, gram, gram, alpha=c)
        product = factor if product is None else factor @ product
        if iteration < iterations - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised; scaled so that its RMS is 0.2, like AdamW's usual one, and one
    learning rate serves both (Liu et al., "Muon is scalable for LLM training", 2025)."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            matrices = [self._direction(parameter, group["momentum"]) for parameter in parameters]
            for parameter, update in zip(parameters, _orthogonalised_together(matrices), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                alpha = -0.2 * max(update.shape) ** 0.5 * group["lr"]
                parameter.add_(update.reshape(parameter.shape), alpha=alpha)

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's momentum of a parameter, as a matrix."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        buffer = state["momentum"]
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum).flatten(1)


def _orthogonalised_together(matrices: list[Tensor]) -> list[Tensor]:
    """Each matrix orthogonalised; where processes share a run, each does a part of them for all."""
    if not distributed.is_initialized():
        return [orthogonalised(matrix) for matrix in matrices]
    rank, count = distributed.get_rank(), distributed.get_world_size()
    flat = torch.zeros(sum(matrix.numel() for matrix in matrices))
    updates = [
        part.view_as(matrix)
        for part, matrix in zip(flat.split([m.numel() for m in matrices]), matrices, strict=True)
    ]
    for matrix, update in list(zip(matrices, updates, strict=True))[rank::count]:
        update.copy_(orthogonalised(matrix))
    distributed.all_reduce(flat)
    return updates


class Optimizers:
    """Muon for the hidden matrices of a network, AdamW for vectors, embeddings and the ends."""

    def __init__(
        self, network: nn.Module, *, lr: float, adam_lr: float, weight_decay: float, adam_for: tuple[str, ...]
    ) -> None:
        matrices, others = [], []
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            is_matrix = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= 16
            (matrices if is_matrix and not name.startswith(adam_for) else others).append(parameter)
        self.muon = Muon(matrices, lr=lr, momentum=0.95, weight_decay=weight_decay)
        self.adam = torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0, eps=1e-10)
        self._base = (lr, adam_lr)

    def step(self, scale: float) -> None:
        """One update at `scale` times the learning rates; then the gradients are cleared."""
        for optimizer, lr in zip((self.muon, self.adam), self._base, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """From a checkpoint."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


class Average:
    """Exponential moving averages of a network's parameters, several decays at once; chosen after the run."""

    def __init__(self, network: nn.Module, decays: tuple[float, ...]) -> None:
        self.decays = decays
        self.shadows = [{k: v.detach().clone() for k, v in network.named_parameters()} for _ in decays]

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After optimizer step number `step` (from 1). Young averages forget their random start faster."""
        for decay, shadow in zip(self.decays, self.shadows, strict=True):
            rate = 1 - min(decay, (1 + step) / (10 + step))
            for name, parameter in network.named_parameters():
                shadow[name].lerp_(parameter, rate)

    def weights(self, network: nn.Module, index: int) -> dict[str, Tensor]:
        """A state dict of the network with the averaged parameters in it."""
        return {**network.state_dict(), **self.shadows[index]}
