"""The pictures that the fast adapter is trained on: random crops, decoded once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from velatura.picture import open_picture

SHORT, LONG = 264, 400  # px: a picture's short side, and the most that is kept of the other
FACES, FACE_WEIGHT = "faces", 3.0  # photos whose names begin so are drawn more often


def picture_weight(path: Path) -> float:
    """How often a picture is drawn, relative to others."""
    return FACE_WEIGHT if path.name.startswith(FACES) else 1.0


class Pictures:
    """Pictures of ``paths``, decoded when they are first drawn; all that is random comes from ``chance``."""

    def __init__(self, paths: Sequence[Path], chance: random.Random) -> None:
        self.paths, self.chance = list(paths), chance
        self.weights = [picture_weight(path) for path in paths]
        self._decoded: dict[int, Tensor] = {}

    def draw(self) -> int:
        """The number of a random picture."""
        return self.chance.choices(range(len(self.paths)), self.weights)[0]

    def whole(self, number: int) -> Tensor:
        """A picture (1, 3, H, W) in [-1, 1], its short side 264 px."""
        if number not in self._decoded:
            self._decoded[number] = _decoded(self.paths[number])
        return self._decoded[number][None].float() / 127.5 - 1

    def crop(self, number: int, side: int) -> Tensor:
        """A random square (1, 3, side, side) of a picture, flipped half of the time."""
        pixels = self.whole(number)
        top, left = (self.chance.randint(0, length - side) for length in pixels.shape[2:])
        found = pixels[..., top : top + side, left : left + side]
        return found.flip(3) if self.chance.random() < 0.5 else found


def _decoded(path: Path) -> Tensor:
    """The picture's centre as bytes (3, H, W), its short side 264 px and the other at most 400."""
    image = open_picture(path).image
    scale = SHORT / min(image.size)
    image = image.resize((max(SHORT, round(image.width * scale)), max(SHORT, round(image.height * scale))))
    left, top = max(0, image.width - LONG) // 2, max(0, image.height - LONG) // 2
    image = image.crop((left, top, left + min(image.width, LONG), top + min(image.height, LONG)))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()
