"""Pairs for the student: latents of a content in a style's colours, and of what a teacher paints of it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.house.backbone import HouseBackbone
from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors

MODEL = "model"  # the metadata's entry for the fingerprint of the model whose latents the pairs are
FACTOR = 8  # pixels a latent


class Pair(NamedTuple):
    """Latents (C, h, w) of a content in its style's colours and of what is to be painted of it, and the standardised
    style vector (100,).
    """

    content: Tensor
    target: Tensor
    vector: Tensor


class PairRows(NamedTuple):
    """A batch of pairs: ``contents`` and ``targets`` (B, C, h, w), ``vectors`` (B, 100)."""

    contents: Tensor
    targets: Tensor
    vectors: Tensor


def write_pairs(folder: Path, pairs: Sequence[Pair], backbone: HouseBackbone) -> Path:
    """Write pairs of one size to a new file in ``folder``, the latents in half precision; returns its path."""
    path = folder / f"pairs-{uuid.uuid4().hex[:12]}.safetensors"
    tensors = {
        "contents": torch.stack([pair.content for pair in pairs]).half(),
        "targets": torch.stack([pair.target for pair in pairs]).half(),
        "vectors": torch.stack([pair.vector for pair in pairs]).float(),
    }
    write_tensors(path, tensors, {MODEL: backbone.fingerprint})
    return path


def read_pairs(path: Path, backbone: HouseBackbone) -> Iterator[Pair]:
    """The pairs in a file. Raises ModelError for a damaged one, or one of another model."""
    try:
        tensors, metadata = read_tensors(path)
        rows = [tensors[name] for name in ("contents", "targets", "vectors")]
    except (DamagedFileError, OSError, KeyError) as error:
        raise ModelError(
            f"{path} is no whole file of pairs ({error}): 'velatura train-house pairs' makes some."
        ) from None
    if metadata.get(MODEL) != backbone.fingerprint:
        raise ModelError(f"The pairs in {path} are of another model than {backbone.name}: make them again with it.")
    yield from (Pair(*each) for each in zip(*rows, strict=True))


class PairBatches:
    """Random crops of the pairs in ``folders``, of each folder as many; files that are added meanwhile are taken up.

    The file that is called ``held_out_file``, or the first, is kept out of training as ``held_out``. Raises ModelError
    for fewer than two files.
    """

    def __init__(
        self, folders: Sequence[Path], backbone: HouseBackbone, chance: random.Random, held_out_file: str = ""
    ) -> None:
        self.folders, self.backbone, self.chance = folders, backbone, chance
        self.pairs: dict[Path, list[Pair]] = {}
        self.held_out: list[Pair] = []
        self.held_out_file = held_out_file
        self._read: set[Path] = set()
        self.refresh()
        if not self.pairs:
            raise ModelError(
                f"Training needs two files of pairs in {', '.join(map(str, folders))}: make them with 'velatura "
                "train-house pairs', which adds files each time."
            )

    def refresh(self) -> None:
        """Take up files that are new."""
        found = [path for folder in self.folders for path in sorted(set(folder.glob("*.safetensors")) - self._read)]
        for path in sorted(found, key=lambda path: path.name != self.held_out_file):  # that file, then all in order
            self._read.add(path)
            if not self.held_out:
                self.held_out_file = path.name
            kept = self.pairs.setdefault(path.parent, []) if self.held_out else self.held_out
            kept.extend(read_pairs(path, self.backbone))

    def draw(self, count: int, side: int) -> PairRows:
        """Crops of ``side`` px of ``count`` pairs."""
        folders = self.chance.choices(list(self.pairs), k=count)
        return _joined([self._crop(self.chance.choice(self.pairs[folder]), side // FACTOR) for folder in folders])

    def held_out_rows(self) -> PairRows:
        """All pairs that are kept out, whole."""
        return _joined(self.held_out)

    def _crop(self, pair: Pair, side: int) -> Pair:
        top, left = (self.chance.randint(0, max(0, length - side)) for length in pair.content.shape[1:])
        content, target = (each[:, top : top + side, left : left + side] for each in pair[:2])
        return Pair(content, target, pair.vector)


def _joined(pairs: Sequence[Pair]) -> PairRows:
    return PairRows(*(torch.stack(each).float() for each in zip(*pairs, strict=True)))
