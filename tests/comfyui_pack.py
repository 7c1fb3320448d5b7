"""What the tests of the node pack share: where it is, a stand-in for ComfyUI's bar, pictures and a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from tests.conftest import smooth_pixels

PACK = Path(__file__).parents[1] / "integrations" / "comfyui"


class Cancelled(Exception):  # noqa: N818 (as InterruptProcessingException is none)
    """ComfyUI's InterruptProcessingException."""


class Bar:
    """ComfyUI's ProgressBar, with what it was told."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, total: int) -> None:
        self.total, self.current, self.previews = total, 0, []
        Bar.made.append(self)

    def update(self, value: int) -> None:
        self.current += value

    def update_absolute(self, value: int, preview: Any = None) -> None:
        self.current = value
        self.previews.append(preview)


def image(seed: int, width: int = 64, count: int = 1) -> torch.Tensor:
    return (smooth_pixels(64, width, seed).permute(0, 2, 3, 1).expand(count, -1, -1, -1) + 1) / 2


def half_mask() -> torch.Tensor:
    mask = torch.zeros(1, 64, 96)
    mask[:, :, :48] = 1
    return mask
