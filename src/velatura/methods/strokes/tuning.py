"""Tuning of the stroke network to one style, so that it paints nearer to the style's textures in the same time.

The network as it is knows a style by 100 numbers. Optimised for one style alone, by the losses of its training and
with what the fast UNet paints of a few photos, it gets closer (Johnson et al. 2016 train one network a style).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from PIL import Image, ImageOps
from torch import Tensor

from velatura.errors import SettingError
from velatura.losses.strokes import STROKE_FLAT_PUSH, STROKE_WEIGHTS
from velatura.methods.context import RunContext
from velatura.methods.resumable_fit import Curve, FitCheckpoint, resumable_fit
from velatura.methods.strokes.optimiser import StrokeOptimiser
from velatura.methods.strokes.pictures import PaintBeforeStrokes, Painted, joined, painted_of
from velatura.methods.strokes.tuned import kept_weights
from velatura.methods.validation import Range, Seed
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import HALF_A_CELL_APART
from velatura.picture import Picture
from velatura.picture.sample_photos import sample_photos
from velatura.style import Style

CROPS = 4  # of each sample photo
LARGEST = 1.5  # times a crop's side: the most that a photo's short side is
ROWS = 2  # pictures of a step
RATE, WARMUP_STEPS, DECAY_SHARE = 1e-3, 10, 0.5
CHECK_STEPS = 5
CHECKED = 2  # pictures whose losses tell how far a fit is
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # of Adam, by parameter


@dataclass(frozen=True)
class TuningSettings:
    """Settings of a fit that tunes the stroke network.

    ``fit_steps`` is how many optimiser steps it takes, each of about a second (0: no tuning, a moment's work).
    ``fit_seed`` is that of the crops and batches.
    """

    fit_steps: Annotated[int, Range(0, 10_000)] = 0
    fit_seed: Seed = 0


def tuning_contents(side: int, seed: int) -> list[Picture]:
    """Random squares, of ``side`` pixels, of scikit-image's photos, half of them mirrored."""
    chance = torch.Generator().manual_seed(seed)
    return [Picture.of(_crop(photo.image, side, chance), photo.name) for photo in sample_photos() for _ in range(CROPS)]


def _crop(image: Image.Image, side: int, chance: torch.Generator) -> Image.Image:
    scale, across, down, mirrored = torch.rand(4, generator=chance).tolist()
    short = side * (1 + (LARGEST - 1) * scale)
    width, height = (max(side, round(length * short / min(image.size))) for length in image.size)
    left, top = int(across * (width - side)), int(down * (height - side))
    crop = image.resize((width, height), Image.Resampling.LANCZOS).crop((left, top, left + side, top + side))
    return ImageOps.mirror(crop) if mirrored < 0.5 else crop


class StrokeTuning:
    """The fit of the ``optimiser``'s network to ``pictures`` that were painted in one style."""

    def __init__(self, optimiser: StrokeOptimiser, pictures: Sequence[Painted], settings: TuningSettings) -> None:
        self.optimiser, self.pictures, self.settings = optimiser, pictures, settings
        self.generator = torch.Generator().manual_seed(settings.fit_seed + 1)
        self.checked = joined(pictures[:: max(1, len(pictures) // CHECKED)][:CHECKED])

    def initial_loss(self) -> float:
        """The loss of the model's own network."""
        return self.loss()

    def step(self, step: int) -> None:
        """One step on a random batch."""
        chosen = torch.randint(len(self.pictures), (ROWS,), generator=self.generator).tolist()
        left = (self.settings.fit_steps - step) / self.settings.fit_steps
        rate = RATE * min(1.0, (step + 1) / WARMUP_STEPS, left / DECAY_SHARE)
        self.optimiser.step(joined([self.pictures[index] for index in chosen]), rate, self.generator)

    @torch.no_grad()
    def loss(self) -> float:
        """The weighted loss of fixed pictures."""
        optimiser = self.optimiser
        return optimiser.total(optimiser.losses_of(optimiser.network, self.checked, HALF_A_CELL_APART)).item()

    def stops(self, losses: Sequence[float]) -> bool:
        """Never before the last step."""
        return False

    def state(self) -> dict[str, Tensor]:
        """The network's weights and Adam's moments."""
        moments = {
            f"{name}.{moment}": self.optimiser.adam.state[value][moment]
            for name, value in self.optimiser.network.named_parameters()
            for moment in MOMENTS
        }
        return {**self.optimiser.network.state_dict(), **moments}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up ``state``."""
        for name, value in self.optimiser.network.named_parameters():
            value.copy_(state[name])
            self.optimiser.adam.state[value] = {moment: state[f"{name}.{moment}"].clone() for moment in MOMENTS}


def tuned_strokes(
    settings: TuningSettings,
    pixels: Tensor,
    style: Style,
    paint: PaintBeforeStrokes,
    checkpoint: FitCheckpoint,
    context: RunContext[HouseBackbone],
) -> tuple[dict[str, Tensor], Curve]:
    """The weights of a stroke network that is tuned to a style picture's ``pixels`` (1, 3, H, W), as tensors of the
    ``style``, and the loss by step. ``paint`` is how the style is painted before strokes.

    Raises SettingError for a model without a stroke network.
    """
    backbone, own = context.backbone, context.backbone.stroke_network
    if own is None:
        raise SettingError(
            f"fit_steps tune a model's stroke network, and {backbone.name} has none: leave fit_steps out."
        )
    network = copy.deepcopy(own).requires_grad_(True)
    optimiser = StrokeOptimiser(network, STROKE_WEIGHTS, STROKE_FLAT_PUSH, backbone.device)
    wanted = optimiser.losses.measured(pixels.to(backbone.device))
    painted = backbone.painted_style(style.tensors["vector"])
    contents = tuning_contents(backbone.native_size, settings.fit_seed)
    pictures = [
        painted_of(content, style, painted, wanted, paint)
        for content in context.progress.track(contents, "photos to tune with")
    ]
    fit = StrokeTuning(optimiser, pictures, settings)
    curve = resumable_fit(fit, settings.fit_steps, CHECK_STEPS, checkpoint, context.progress)
    return kept_weights(network), curve
