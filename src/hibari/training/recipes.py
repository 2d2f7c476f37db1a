"""Complete training recipes: one function a recipe, every number in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hibari import catalog
from hibari.models.mini.autoencoder import AutoencoderConfig
from hibari.models.mini.transformer import TransformerConfig
from hibari.models.mini.upscaler import UpscalerConfig


@dataclass(frozen=True)
class AutoencoderRecipe:
    """How the autoencoder is trained.

    Attributes:
        config: its sizes.
        component_clips: clips from which the principal components are fitted.
        clips_per_step: rendered a step; each gives two crops (its first and its last frames).
        crop_px: side of a crop.
        crop_frames: 1 + 4k.
        near_subject: share of the crops that are centred near a subject, where the detail is.
        lr, adam_lr: at full rate, for matrices and for the rest.
        gradient_weight: of the L1 of spatial differences, which keeps edges sharp.
        latent_noise: largest noise on the latents, in standard deviations of each channel; drawn evenly from 0 up a
            crop, so that the decoder bears the errors of a sampler.
        decays: of the weight averages that are kept.
    """

    config: AutoencoderConfig
    component_clips: int
    clips_per_step: int
    crop_px: int
    crop_frames: int
    near_subject: float
    lr: float
    adam_lr: float
    gradient_weight: float
    latent_noise: float
    decays: tuple[float, ...]


@dataclass(frozen=True)
class UpscalerRecipe:
    """How the upscaler is trained.

    Attributes:
        config: its sizes.
        clips_per_step: rendered a step, all of one shape.
        frames: 1 + 4k of each, which go through the autoencoder; k of them are upscaled.
        lr, adam_lr: at full rate, for matrices and for the rest.
        gradient_weight: of the L1 of spatial differences, which keeps edges sharp.
        latent_noise: largest noise on the latents, in standard deviations of each channel; drawn evenly from 0 up a
            clip, so that the upscaler bears the errors of a sampler.
        decays: of the weight averages that are kept.
    """

    config: UpscalerConfig
    clips_per_step: int
    frames: int
    lr: float
    adam_lr: float
    gradient_weight: float
    latent_noise: float
    decays: tuple[float, ...]


@dataclass(frozen=True)
class TransformerRecipe:
    """How the transformer is trained.

    Attributes:
        config: its sizes.
        batch: clips a step, all of one shape; a step with short windows takes more of them.
        most_clips: at most so many times `batch`, where windows are short.
        lr, adam_lr, weight_decay: at full rate, for matrices and for the rest.
        caption_dropout: share of the captions that are replaced by the empty prompt.
        given_share: share of the clips in which some latent frames are given (sigma 0).
        picture_steps: the first steps see single latent frames only: what things look like is learned from many
            pictures for the price of one clip.
        figure_weight: by how much more an error counts where a figure is, a small part of the picture and most of what
            is asked for: in full below a noise level of one half, and fading to nothing at one.
        window_share: share of the later steps with a part of a clip, from its beginning or from inside.
        window_frames: lengths of such parts in latent frames.
        sigma_floor: errors at lower noise levels weigh no more than x0's error does at this one.
        sigma_mean, sigma_std: of the normal distribution whose logistic is a picture's noise level. For F frames
            the mean is log(F) / 4 higher: frames repeat each other, so more noise leaves as much to be seen.
        shard_clips: clips a shard of the latent cache.
        shards_at_start, steps_per_shard, shards: step n may draw from the first shards_at_start + n / steps_per_shard
            shards, `shards` at most: training starts at once and fresh clips keep coming.
        captions: different captions a clip.
        seed: of what each step draws; a run that goes on from earlier weights takes another than theirs, so as not to
            hear the same lessons again.
        decays: of the weight averages that are kept.
    """

    config: TransformerConfig
    batch: int
    most_clips: int
    lr: float
    adam_lr: float
    weight_decay: float
    caption_dropout: float
    given_share: float
    picture_steps: int
    figure_weight: float
    window_share: float
    window_frames: tuple[int, ...]
    sigma_floor: float
    sigma_mean: float
    sigma_std: float
    shard_clips: int
    shards_at_start: int
    steps_per_shard: int
    shards: int
    captions: int
    seed: int
    decays: tuple[float, ...]


@dataclass(frozen=True)
class DistilRecipe(TransformerRecipe):
    """How a transformer of few steps is made of one of many.

    Attributes:
        steps: of the network that is made.
        teacher_steps: in which its teacher goes the way of one of them.
        guidance: of the teacher. The new network has it inside and is asked once a step.
        shift: of the schedule.
        mixed_share: of clips that begin as a real one with noise, at a later segment, and not as noise alone.
    """

    steps: int
    teacher_steps: int
    guidance: float
    shift: float
    mixed_share: float


def autoencoder_mini() -> AutoencoderRecipe:
    """What ships."""
    return AutoencoderRecipe(
        config=AutoencoderConfig(latent_channels=64, widths=(64, 128, 256), blocks=(2, 2, 3), out_width=32),
        component_clips=160,
        clips_per_step=3,
        crop_px=96,
        crop_frames=13,
        near_subject=0.7,
        lr=2e-3,
        adam_lr=1e-3,
        gradient_weight=0.5,
        latent_noise=0.15,
        decays=(0.995, 0.999),
    )


def autoencoder_tiny() -> AutoencoderRecipe:
    """A minute on one core: a network that is good for nothing but really learns."""
    return replace(
        autoencoder_mini(),
        config=AutoencoderConfig(latent_channels=64, widths=(16, 24, 32), blocks=(1, 1, 1), out_width=8),
        component_clips=12,
        clips_per_step=2,
        crop_px=64,
        crop_frames=9,
        lr=2e-2,
        adam_lr=2e-2,
        decays=(0.9,),
    )


def upscaler_mini() -> UpscalerRecipe:
    """What ships: 0.25 M parameters, 0.15 MFLOP a pixel of the small frame."""
    return UpscalerRecipe(
        config=UpscalerConfig(width=64, blocks=3, out_width=32),
        clips_per_step=4,
        frames=9,
        lr=2e-3,
        adam_lr=5e-4,
        gradient_weight=0.5,
        latent_noise=0.15,
        decays=(0.98, 0.995),
    )


def upscaler_tiny() -> UpscalerRecipe:
    """Half a minute on one core."""
    return replace(
        upscaler_mini(),
        config=UpscalerConfig(width=16, blocks=1, out_width=16),
        clips_per_step=2,
        frames=5,
        lr=4e-3,
        adam_lr=1e-3,
        decays=(0.8,),
    )


def transformer_mini() -> TransformerRecipe:
    """What ships."""
    return TransformerRecipe(
        config=TransformerConfig(
            latent_channels=64,
            text_width=384,
            width=256,
            heads=4,
            blocks=6,
            mlp_ratio=4,
            cell_width=128,
            cell_blocks=(1, 2),
            field_width=32,
            field_blocks=1,
            middle_width=96,
            middle_blocks=2,
        ),
        batch=16,
        most_clips=8,
        lr=4e-3,
        adam_lr=2e-3,
        weight_decay=0.01,
        caption_dropout=0.1,
        given_share=0.2,
        picture_steps=2400,
        figure_weight=4.0,
        window_share=0.5,
        window_frames=(1, 2, 3, 5),
        sigma_floor=0.25,
        sigma_mean=0.8,
        sigma_std=1.2,
        shard_clips=256,
        shards_at_start=24,
        steps_per_shard=40,
        shards=96,
        captions=2,
        seed=14,
        decays=(0.99, 0.997),
    )


def transformer_tiny() -> TransformerRecipe:
    """A minute on one core."""
    return replace(
        transformer_mini(),
        config=TransformerConfig(
            latent_channels=64,
            text_width=384,
            width=64,
            heads=2,
            blocks=2,
            mlp_ratio=2,
            cell_width=16,
            cell_blocks=(1, 1),
            field_width=8,
            field_blocks=1,
            middle_width=8,
            middle_blocks=1,
        ),
        batch=8,
        picture_steps=0,
        shard_clips=16,
        shards_at_start=2,
        steps_per_shard=1000,
        shards=2,
        captions=1,
        decays=(0.9,),
    )


def transformer_fast() -> DistilRecipe:
    """hibari-mini-fast, from what ships, as that is used."""
    preset = catalog.spec("mini")
    return DistilRecipe(
        **{
            **vars(transformer_mini()),
            "batch": 4,  # each clip is four lessons
            "lr": 3e-4,
            "adam_lr": 1.5e-4,
            "caption_dropout": 0.02,
            "picture_steps": 0,
            "window_share": 0.2,
            "seed": 15,
            "decays": (0.98, 0.99),
        },
        steps=4,
        teacher_steps=3,
        guidance=preset.default_guidance,
        shift=preset.sigma_shift,
        mixed_share=0.25,
    )


AUTOENCODER_RECIPES = {"mini": autoencoder_mini, "tiny": autoencoder_tiny}
UPSCALER_RECIPES = {"mini": upscaler_mini, "tiny": upscaler_tiny}
TRANSFORMER_RECIPES: dict[str, Callable[[], TransformerRecipe]] = {
    "mini": transformer_mini,
    "tiny": transformer_tiny,
    "fast": transformer_fast,
}
