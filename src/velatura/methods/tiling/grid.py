"""Overlapping tiles over a grid of latent cells or pixels, with windows that sum to 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

OVERLAP = 0.1875  # of a tile's side, with each neighbour
MARGIN = 0.05  # of a tile's side at inner borders that counts for nothing: convolutions see zeros beyond the border


@dataclass(frozen=True, eq=False)
class Strip:
    """Tiles along an axis of ``total`` cells: their ``starts``, their common ``length``, and their ``windows``
    (length,), which sum to 1.
    """

    total: int
    starts: tuple[int, ...]
    length: int
    windows: tuple[Tensor, ...]

    @staticmethod
    def over(total: int, length: int, factor: int = 1) -> Strip:
        """Evenly spaced tiles of at most ``length`` cells over ``total`` cells, each ``factor`` pixels long."""
        length = min(length, total)
        overlap = max(1, round(OVERLAP * length))
        count = 1 if length == total else math.ceil((total - overlap) / (length - overlap))
        starts = tuple(factor * round(place) for place in np.linspace(0, total - length, count))
        length, total, overlap = factor * length, factor * total, factor * overlap
        ramps = [_ramp(start, length, total, overlap) for start in starts]
        sums = torch.zeros(total)
        for start, ramp in zip(starts, ramps, strict=True):
            sums[start : start + length] += ramp
        pairs = zip(starts, ramps, strict=True)
        return Strip(total, starts, length, tuple(ramp / sums[start : start + length] for start, ramp in pairs))


def _ramp(start: int, length: int, total: int, overlap: int) -> Tensor:
    """1 inside; at borders with a neighbour a squared sine that rises over the overlap but for its margin."""
    margin = min(round(MARGIN * length), (overlap - 1) // 2)
    steps = (torch.arange(length) + 0.5 - margin) / (overlap - 2 * margin)
    rise = torch.sin(math.pi / 2 * steps.clamp(0, 1)).square()
    ramp = torch.ones(length)
    if start > 0:
        ramp = ramp * rise
    if start + length < total:
        ramp = ramp * rise.flip(0)
    return ramp


@dataclass(frozen=True)
class Box:
    """A tile's place: its first row and column, its height and its width."""

    top: int
    left: int
    height: int
    width: int

    def of(self, field: Tensor) -> Tensor:
        """The part of a field (..., h, w) in the box; a view."""
        return field[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, eq=False)
class Grid:
    """Tiles over a field: every row of tiles with every column."""

    rows: Strip
    columns: Strip

    @staticmethod
    def over(cells: tuple[int, int], side: int, factor: int = 1) -> Grid:
        """Tiles of at most ``side`` by ``side`` cells over (height, width) cells, each ``factor`` pixels long."""
        height, width = cells
        return Grid(Strip.over(height, side, factor), Strip.over(width, side, factor))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the field."""
        return self.rows.total, self.columns.total

    def boxes(self) -> list[Box]:
        """All tiles, row by row."""
        height, width = self.rows.length, self.columns.length
        return [Box(top, left, height, width) for top in self.rows.starts for left in self.columns.starts]

    def windows(self) -> Iterator[Tensor]:
        """The windows (height, width) of all tiles, in the order of ``boxes``; they sum to 1 everywhere."""
        for row in self.rows.windows:
            for column in self.columns.windows:
                yield row[:, None] * column
