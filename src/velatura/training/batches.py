"""Training batches: weighted draws, crops, flips and halving of decoded pictures."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from velatura.training.captions import Description, Kind
from velatura.training.shards import Example

LARGE = 256
KIND_SHARES: Mapping[Kind, float] = {"photo": 0.40, "painting": 0.35, "painted": 0.25}


def decoded(example: Example) -> Tensor:
    """The picture as bytes (3, H, W), enlarged where a side is below 256."""
    image = Image.fromarray(example.pixels())
    scale = LARGE / min(image.size)
    if scale > 1:
        sides = (max(LARGE, round(image.width * scale)), max(LARGE, round(image.height * scale)))
        image = image.resize(sides, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()


class Batch(NamedTuple):
    """``pixels`` (B, 3, side, side) in [-1, 1] and the numbers of their pictures, ``indices``.

    ``beneath`` holds the same crops of the photos that painted pictures were painted over; for others, the pixels.
    """

    pixels: Tensor
    indices: list[int]
    beneath: Tensor


class Batches:
    """Random batches of ``examples``, their kinds drawn by ``shares``; all that is random comes from ``chance``."""

    def __init__(self, examples: Sequence[Example], seed: int, shares: Mapping[Kind, float] = KIND_SHARES) -> None:
        self.chance = random.Random(seed)
        self.pictures = [decoded(example) for example in examples]
        self.descriptions: list[Description] = [example.description for example in examples]
        self.embeddings = torch.stack([example.embedding for example in examples])
        self.beneath = [number if one.beneath is None else one.beneath for number, one in enumerate(examples)]
        self.by_kind = {
            kind: [i for i, description in enumerate(self.descriptions) if description.kind == kind] for kind in shares
        }
        self.shares = {kind: share for kind, share in shares.items() if self.by_kind[kind]}

    def _crops(self, pictures: Sequence[Tensor], side: int) -> list[Tensor]:
        """The same crop of pictures of one size, all flipped or none."""
        top = self.chance.randint(0, pictures[0].shape[1] - side)
        left = self.chance.randint(0, pictures[0].shape[2] - side)
        crops = [picture[:, top : top + side, left : left + side].float() for picture in pictures]
        return [crop.flip(2) for crop in crops] if self.chance.random() < 0.5 else crops

    def _small(self, pictures: Sequence[Tensor], side: int) -> list[Tensor]:
        """Half of the time a crop at the pictures' own scale, half of the time twice as large a crop, halved."""
        if self.chance.random() < 0.5:
            return self._crops(pictures, side)
        return [F.avg_pool2d(crop, 2) for crop in self._crops(pictures, 2 * side)]

    def draw(self, count: int, side: int) -> Batch:
        """Crops of ``count`` pictures; side 128 or 256."""
        kinds = self.chance.choices(list(self.shares), list(self.shares.values()), k=count)
        indices = [self.chance.choice(self.by_kind[kind]) for kind in kinds]
        cropped = self._crops if side == LARGE else self._small
        # A picture with nothing beneath it is cropped once.
        layers = (dict.fromkeys((number, self.beneath[number])) for number in indices)
        crops = [cropped([self.pictures[number] for number in layer], side) for layer in layers]
        pixels, beneath = (torch.stack([crop[at] for crop in crops]) / 127.5 - 1 for at in (0, -1))
        return Batch(pixels, indices, beneath)


class _Stream(IterableDataset[Batch]):
    """Endless batches for a DataLoader; each of its workers draws its own."""

    def __init__(self, batches: Batches, count: int, side: int, seed: int) -> None:
        self.batches, self.count, self.side, self.seed = batches, count, side, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        self.batches.chance.seed(self.seed * 1009 + (worker.id if worker else 0))
        while True:
            yield self.batches.draw(self.count, self.side)


def batch_stream(batches: Batches, count: int, side: int, seed: int, device: torch.device) -> Iterator[Batch]:
    """Endless batches of ``count`` crops of ``side`` pixels; for a GPU drawn ahead by worker processes."""
    workers = min(8, os.cpu_count() or 1) if device.type == "cuda" else 0
    stream = _Stream(batches, count, side, seed)
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, pin_memory=workers > 0))


def centre_crops(examples: Sequence[Example], side: int = LARGE) -> Tensor:
    """The centre squares (B, 3, side, side) in [-1, 1] of ``examples``, for checking."""
    squares = []
    for picture in map(decoded, examples):
        top, left = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
        squares.append(picture[:, top : top + side, left : left + side])
    return torch.stack(squares) / 127.5 - 1
