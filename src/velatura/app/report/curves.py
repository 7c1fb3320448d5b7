"""Curves of losses as points of a small SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240, 72  # of the drawing, in its own units


@dataclass(frozen=True)
class Curve:
    """A loss over a run: its name, the ``points`` of its line in WIDTH x HEIGHT, its first, last and largest value."""

    name: str
    points: str
    first: str
    last: str
    largest: str

    @staticmethod
    def of(name: str, steps: Sequence[float], values: Sequence[float]) -> Curve | None:
        """The curve of ``values`` over ``steps``, from 0 upwards; None for fewer than two finite ones."""
        pairs = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
        if len(pairs) < 2:
            return None
        start, end = pairs[0][0], pairs[-1][0]
        low, high = min(0.0, *(value for _, value in pairs)), max(value for _, value in pairs)
        across, up = WIDTH / ((end - start) or 1), HEIGHT / ((high - low) or 1)
        points = (f"{(step - start) * across:.1f},{HEIGHT - (value - low) * up:.1f}" for step, value in pairs)
        first, last = pairs[0][1], pairs[-1][1]
        return Curve(name, " ".join(points), f"{first:.3g}", f"{last:.3g}", f"{high:.3g}")
