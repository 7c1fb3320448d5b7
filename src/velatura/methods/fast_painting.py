"""Painting a content's latents in a few calls of house's UNet with its fast adapter (decision 18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.diffusion.denoising import denoise
from velatura.diffusion.even_levels import EvenLevelsSampler
from velatura.diffusion.inversion import Predict
from velatura.errors import ModelError
from velatura.methods.context import RunContext
from velatura.methods.latent_grid import kept_grid_channels, without_grid
from velatura.methods.latent_regions import regions_of_steps
from velatura.models.backbone import Backbone, Prediction
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_painter import FastPainter, PaintedStyle
from velatura.models.noise_schedule import NoiseSchedule, add_noise, predict_noise
from velatura.regions import Placement

TRAINED_STEPS, TRAINED_STRENGTH = 4, 0.8  # with which the adapter was trained
LEAST_STRENGTH = 0.1  # its least noise in training: what it changes from less fades out


@dataclass(frozen=True)
class Painting:
    """How a content is painted: from the noise level at the share ``strength`` (0..1) of all, in ``steps`` calls."""

    strength: float = TRAINED_STRENGTH
    steps: int = TRAINED_STEPS

    def sampler(self, schedule: NoiseSchedule) -> EvenLevelsSampler:
        """DDIM over the painting's levels; none where the strength is 0."""
        first = min(round(self.strength * len(schedule)), len(schedule) - 1)
        return EvenLevelsSampler(schedule, first, self.steps)


def has_fast_adapter(backbone: Backbone) -> bool:
    """Whether a model brings a fast adapter. Raises ModelError for one that is damaged or does not fit."""
    return _painter(backbone) is not None


def painter_of(backbone: Backbone) -> FastPainter:
    """The model's fast painter. Raises ModelError where it has none."""
    painter = _painter(backbone)
    if painter is None:
        raise ModelError(
            f"The model {backbone.name} has no fast adapter, which --method fast, --preset quick and "
            "guided's start=fast need: use --model house, or --method guided without start=fast."
        )
    return painter


def painted_by(backbone: HouseBackbone, strokes: float) -> dict[str, dict[str, str]]:
    """The manifest's entry for the networks that paint, with this share (0..1) of ``strokes``: a hash of each."""
    idle = () if strokes else ("fast_strokes",)
    return {"fast_networks": {name: digest for name, digest in backbone.fast_networks.items() if name not in idle}}


def fast_networks_of(backbone: Backbone) -> Mapping[str, str]:
    """A hash of each network that the fast method paints with on a model; nothing where it brings none."""
    return backbone.fast_networks if isinstance(backbone, HouseBackbone) else {}


def all_weights(backbone: Backbone) -> str:
    """A model's fingerprint and the hashes of its fast method's networks: it changes when any of them is trained on."""
    return " ".join([backbone.fingerprint, *fast_networks_of(backbone).values()])


def _painter(backbone: Backbone) -> FastPainter | None:
    return backbone.fast_painter if isinstance(backbone, HouseBackbone) else None


@torch.no_grad()
def painted_latents(
    latents: Tensor,
    placement: Placement,
    styles: Sequence[PaintedStyle],
    painting: Painting,
    context: RunContext[HouseBackbone],
) -> Tensor:
    """A content's clean ``latents`` (1, C, h, w) painted in each region's style, without what the painter adds of the
    autoencoder's grid; the content itself elsewhere.

    Raises ModelError for a model without a fast adapter.
    """
    sampler = painting.sampler(context.backbone.schedule)
    if not sampler.timesteps:
        return latents
    noised = add_noise(latents, context.noise(latents.shape), sampler.abars[0])
    predict = _predictor(latents, placement, styles, sampler.timesteps, context.backbone)
    painted = denoise(predict, noised, sampler, progress=context.progress)
    reached = placement.reached((latents.shape[2], latents.shape[3])).to(latents)
    reached = reached * min(1.0, painting.strength / LEAST_STRENGTH)
    return latents + reached * without_grid(painted - latents, kept_grid_channels(latents, context))


def _predictor(
    latents: Tensor,
    placement: Placement,
    styles: Sequence[PaintedStyle],
    timesteps: Sequence[int],
    backbone: HouseBackbone,
) -> Predict:
    """Each acting region's prediction in its share of a content's ``latents``; the content itself elsewhere."""
    painter, regions = painter_of(backbone), regions_of_steps(placement, latents, timesteps)

    def predict(noisy: Tensor, timestep: int) -> Prediction:
        step, abar = regions[timestep], float(backbone.schedule.alphas_cumprod[timestep])
        noise = predict_noise(noisy, latents, abar)
        total = noise.clone()
        for index in step.acting:
            v = painter.v(noisy, timestep, latents, styles[index])
            backbone.evaluations += len(noisy)
            painted = backbone.schedule.output_to_noise(v, noisy, torch.tensor([timestep]))
            total = total + step.shares[index] * (painted - noise)
        return Prediction(total)

    return predict
