"""A plot of content against style, every entry a point, as an SVG's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from velatura.app.report.labels import Box, Label, place_labels
from velatura.evaluation.benchmark.summary import Standing, Summary
from velatura.evaluation.measures import CONTENT, STYLE

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 16, 50  # margins
TICKS = 6
COLOURS = (
    "#c2512b", "#2f6db5", "#3f8f4f", "#8a4fb0", "#b8860b", "#0f8b8d", "#c23b7a", "#6b6862", "#7a9a1f", "#4b4fa8",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """An entry's mean in the plot, its label's place, and the lines of both intervals."""

    name: str
    x: float
    y: float
    label_y: float
    label_left: bool
    across: tuple[float, float]
    up: tuple[float, float]
    colour: str
    on_front: bool
    title: str


@dataclass(frozen=True)
class Plot:
    """Points, lines through the strengths of a label, the front's line, and ticks of both axes (place, text)."""

    points: Sequence[Point]
    lines: Sequence[tuple[str, str]]  # colour and points
    front: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM
    right: int = WIDTH - RIGHT
    top: int = TOP


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``low`` to ``high``, at ``start`` to ``end`` in the drawing."""

    low: float
    high: float
    start: float
    end: float

    @staticmethod
    def over(values: Sequence[float], start: float, end: float) -> Axis:
        """An axis with a margin around values."""
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or 0.05
        return Axis(low - margin, high + margin, start, end)

    def at(self, value: float) -> float:
        """A value's place."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """About six round values with their places."""
        rough = (self.high - self.low) / TICKS
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        values = [number * step for number in range(first, math.floor(self.high / step) + 1)]
        return [(self.at(value), f"{value:.3g}" if abs(value) > step / 2 else "0") for value in values]


def colours(standings: Sequence[Standing]) -> dict[str, str]:
    """A colour for each label."""
    labels = list(dict.fromkeys(each.label for each in standings))
    return {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)}


def pareto_plot(standings: Sequence[Standing]) -> Plot:
    """The plot of standings: content across, style upwards; better is right and up."""
    content, style = ([each.measures[name] for each in standings] for name in (CONTENT, STYLE))
    x = Axis.over(_reach(content), LEFT, WIDTH - RIGHT)
    y = Axis.over(_reach(style), HEIGHT - BOTTOM, TOP)
    paint = colours(standings)
    places = [(each.entry, x.at(each.measures[CONTENT].mean), y.at(each.measures[STYLE].mean)) for each in standings]
    labels = place_labels(places, Box(LEFT, 0, WIDTH, HEIGHT - BOTTOM))
    points = [_point(each, x, y, paint[each.label], label) for each, label in zip(standings, labels, strict=True)]
    lines = []
    for label, colour in paint.items():
        own = [(each.strength, p) for each, p in zip(standings, points, strict=True) if each.label == label]
        ordered = [p for _, p in sorted(own, key=lambda pair: pair[0] or 0.0)]
        if len(ordered) > 1:
            lines.append((colour, _joined(ordered)))
    front = sorted((p for p in points if p.on_front), key=lambda p: p.x)
    return Plot(points, lines, _joined(front), x.ticks(), y.ticks())


def _reach(summaries: Sequence[Summary]) -> list[float]:
    return [value for each in summaries for value in (each.low, each.high, each.mean)]


def _joined(points: Sequence[Point]) -> str:
    return " ".join(f"{p.x},{p.y}" for p in points)


def _point(each: Standing, x: Axis, y: Axis, colour: str, label: Label) -> Point:
    content, style = each.measures[CONTENT], each.measures[STYLE]
    return Point(
        each.entry,
        x.at(content.mean),
        y.at(style.mean),
        label.y,
        label.is_left,
        (x.at(content.low), x.at(content.high)),
        (y.at(style.low), y.at(style.high)),
        colour,
        each.on_front,
        f"{each.entry}: content {content.mean:.3f}, style {style.mean:.3f}, {each.pictures} pictures",
    )
