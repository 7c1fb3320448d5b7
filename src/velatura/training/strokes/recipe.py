"""The recipe of the stroke network: sizes, rates, and weights of its losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from velatura.losses.strokes import STROKE_FLAT_PUSH, STROKE_WEIGHTS
from velatura.training.timed import TimedRecipe


@dataclass(frozen=True)
class StrokesRecipe(TimedRecipe):
    """Settings of the stroke network's training, which lasts ``minutes``.

    A step has ``rows`` pictures of those that the fast UNet painted: ``first_pictures`` at first, one more every
    ``renewal`` steps, until there are ``pool`` and a new one takes the place of the oldest. ``weights`` are those of
    the losses, by name; ``flat_push`` (0..1) is how much of the gradient of the style's losses reaches flat places,
    such as skies.
    """

    rows: int = 2
    first_pictures: int = 100
    pool: int = 2000
    renewal: int = 2
    learning_rate: float = 1e-3
    decay_share: float = 0.6  # of the minutes, at the end, over which the learning rate falls
    weights: Mapping[str, float] = field(default_factory=lambda: dict(STROKE_WEIGHTS))
    flat_push: float = STROKE_FLAT_PUSH
    held_out: int = 16  # pictures, made first, that are never trained on
    check_steps: int = 300
