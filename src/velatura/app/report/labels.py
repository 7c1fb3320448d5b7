"""Places for the labels of points in a plot, so that none lies over another or over a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LETTER, HEIGHT = 7.5, 13.0  # pixels that a label's letters take, about
GAP, REACH = 9.0, 6.0  # pixels from a point to its label's nearer end, and to the point's own edge
SHIFTS = (-7.0, 17.0, 5.0, -21.0, 31.0, -35.0, 45.0)  # of a label's base line from its point, in the order to try


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether two rectangles share some area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True)
class Label:
    """A label's base line, and whether it ends left of its point instead of beginning right of it."""

    y: float
    is_left: bool

    def box(self, name: str, x: float) -> Box:
        """What the label ``name`` of a point at ``x`` covers."""
        left = x - GAP - LETTER * len(name) if self.is_left else x + GAP
        return Box(left, self.y - HEIGHT + 2, left + LETTER * len(name), self.y + 2)


def place_labels(points: Sequence[tuple[str, float, float]], area: Box) -> list[Label]:
    """A label for each point (name, x, y): the nearest place inside ``area`` where nothing is yet, or the first one."""
    taken = [Box(x - REACH, y - REACH, x + REACH, y + REACH) for _, x, y in points]
    labels = []
    for name, x, y in points:
        places = [Label(y + shift, is_left) for shift in SHIFTS for is_left in (False, True)]
        inside = [place for place in places if _lies_in(place.box(name, x), area)] or places
        free = [place for place in inside if not any(place.box(name, x).meets(other) for other in taken)]
        labels.append((free or inside)[0])
        taken.append(labels[-1].box(name, x))
    return labels


def _lies_in(box: Box, area: Box) -> bool:
    return area.left <= box.left and box.right <= area.right and area.top <= box.top and box.bottom <= area.bottom
