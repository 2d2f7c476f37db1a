"""What a clip starts from besides its noise: frames that are given, and frames that are to be changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.diffusion.convention import interpolate


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Latents of a clip before it is made.

    Attributes:
        latent_CFHW: of the whole clip, float32. Where a frame is neither given nor to be changed it counts for nothing.
        given_F: True for clean frames, which stay as they are.
        changed_F: True for frames that start from a mixture of latent and noise at the request's `strength`. The rest
            starts from noise. All or none of the frames that are not given: a window has one schedule.
        generator: uint8, from where random numbers go on if some were drawn for the latent; else None.
        noise_CFHW: the clip's noise, float32, where it was drawn before the latent; else None.
        first_CFHW: of a clip that is made twice, the first pass before its first step; else None.
        keyframes_CKHW: latents of pictures that are shown beside the clip, float32; None where there are none.
        first_keyframes_CKHW: the same pictures at the size of the first pass; None where `first_CFHW` is.
        keyframes_at: the pixel frame of each of them, counted in the clip.
    """

    latent_CFHW: Tensor
    given_F: tuple[bool, ...]
    changed_F: tuple[bool, ...] = ()
    generator: Tensor | None = None
    noise_CFHW: Tensor | None = None
    first_CFHW: Tensor | None = None
    keyframes_CKHW: Tensor | None = None
    first_keyframes_CKHW: Tensor | None = None
    keyframes_at: tuple[int, ...] = ()

    def check(self, spec: ModelSpec, request: GenerationRequest) -> None:
        """That it fits the request.

        Raises:
            InvalidRequest: it is of another shape, gives every frame, or changes only some of the others.
        """
        wanted = latent_shape(spec, request)
        if tuple(self.latent_CFHW.shape) != wanted:
            raise InvalidRequest(
                f"the given latent is {list(self.latent_CFHW.shape)}; this request makes {list(wanted)}",
                field="start",
            )
        if len(self.given_F) != wanted[1] or len(self.changed_F) not in (0, wanted[1]):
            raise InvalidRequest(
                f"{len(self.given_F)} frames are marked; the clip has {wanted[1]} latent frames",
                field="start",
            )
        keyframes = () if self.keyframes_CKHW is None else tuple(self.keyframes_CKHW.shape)
        if keyframes and (
            not spec.keyframes or keyframes != (wanted[0], len(self.keyframes_at), *wanted[2:])
        ):
            raise InvalidRequest(
                f"the keyframes are {list(keyframes)} at {list(self.keyframes_at)}; {spec.name} is shown "
                + (f"{wanted[0]} channels of {wanted[2]}x{wanted[3]} cells" if spec.keyframes else "none"),
                field="start",
            )
        if all(self.given_F):
            raise InvalidRequest("every frame is given; nothing is left to make", field="start")
        changed = {change for given, change in zip(self.given_F, self.changed_F, strict=False) if not given}
        if len(changed) > 1:
            raise InvalidRequest("either all frames that are not given are changed, or none", field="start")
        if not self.latent_CFHW.isfinite().all():
            raise InvalidRequest("the given latent holds numbers that are not finite", field="start")

    def mixed_with(self, noise_CFHW: Tensor, strength: float) -> Tensor:
        """The latent before the first step."""
        given = torch.tensor(self.given_F)[:, None, None]
        changed = torch.tensor(self.changed_F or (False,) * len(self.given_F))[:, None, None]
        level = torch.full((1, len(self.given_F)), strength)
        mixture = interpolate(self.latent_CFHW[None], noise_CFHW[None], level)[0]
        return torch.where(given, self.latent_CFHW, torch.where(changed, mixture, noise_CFHW))


def first_shape(spec: ModelSpec, request: GenerationRequest) -> tuple[int, int, int, int] | None:
    """[C, F, H, W] of the first pass of a clip that is made twice; None where it is made once."""
    preset = spec.preset(request.preset)
    if preset is None or not preset.first_pass:
        return None
    channels, frames, height, width = latent_shape(spec, request)
    return channels, frames, height // 2, width // 2


def latent_shape(spec: ModelSpec, request: GenerationRequest) -> tuple[int, int, int, int]:
    """[C, F, H, W] of a request's latent."""
    height, width = request.native_height // spec.space_factor, request.native_width // spec.space_factor
    return spec.latent_channels, spec.latent_frames(request.native_frames), height, width
