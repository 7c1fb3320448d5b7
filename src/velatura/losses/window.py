"""Windows through which the feature network looks at one part of a picture at a time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MOST = 20  # windows: fewer than the usual steps of a run
ENOUGH = 0.5  # of what the best window covers of a region: windows that cover less are left out


@dataclass(frozen=True)
class Window:
    """A rectangle, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: Tensor) -> Tensor:
        """What is in the window, of (B, C, H, W)."""
        return pixels[:, :, self.top : self.top + self.height, self.left : self.left + self.width]


def windows_over(
    size: tuple[int, int], side: int, draws: torch.Generator, share: Tensor | None = None
) -> tuple[Window, ...]:
    """Windows of ``side`` px that cover a picture of ``size`` (height, width), a quarter over each other, shuffled.

    With ``side`` 0 it is one window, the picture; a long picture gets larger ones, so that each has its turn.
    ``share`` (1, 1, h, w), a region's part of the picture in 0..1, leaves out those with little of it.
    """
    height, width = (min(side or length, length) for length in size)
    corners = list(itertools.product(_starts(size[0], height), _starts(size[1], width)))
    if len(corners) > MOST:
        return windows_over(size, side + side // 4, draws, share)
    order = torch.randperm(len(corners), generator=draws).tolist()
    windows = [Window(top, left, height, width) for top, left in (corners[number] for number in order)]
    if share is not None:
        sized = F.interpolate(share.float(), size, mode="area")
        covered = [window.of(sized).mean().item() for window in windows]
        windows = [window for window, part in zip(windows, covered, strict=True) if part >= ENOUGH * max(covered)]
    return tuple(windows)


def _starts(length: int, side: int) -> list[int]:
    """Where windows of ``side`` begin so that they cover ``length``, each at least a quarter over the one before."""
    last = length - side
    count = math.ceil(last / (0.75 * side))
    return [round(last * number / count) for number in range(count + 1)] if count else [0]
