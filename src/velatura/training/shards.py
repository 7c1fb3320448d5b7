"""Shards of training pictures: WebP bytes, descriptions and embeddings, in safetensors files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from velatura.errors import PictureError
from velatura.training.captions import Description
from velatura.whole_file import whole_file

SHARD_BYTES = 45 * 2**20
FORMAT = "velatura-shard-1"
NOTHING = -1  # in the file: no photo beneath


@dataclass(frozen=True)
class Example:
    """One training picture: its WebP bytes, its description, and its raw image embedding (1380,).

    ``beneath`` is the number, among the examples of its shards, of the photo that a painted one was painted over.
    """

    picture: bytes
    description: Description
    embedding: Tensor
    beneath: int | None = None

    def pixels(self) -> np.ndarray[Any, Any]:
        """The decoded picture, (H, W, 3) bytes."""
        with Image.open(io.BytesIO(self.picture)) as image:
            return np.asarray(image.convert("RGB"))


def write_shards(examples: Sequence[Example], folder: Path, name: str) -> list[Path]:
    """Write ``examples`` as ``name-00.safetensors`` and so on, each below 45 MiB; returns the paths."""
    groups: list[list[Example]] = [[]]
    size = 0
    for example in examples:
        if size + len(example.picture) > SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(example)
        size += len(example.picture) + 2 * example.embedding.numel()
    paths = [folder / f"{name}-{index:02}.safetensors" for index in range(len(groups))]
    with ExitStack() as stack:  # all of them, or none
        for group, path in zip(groups, paths, strict=True):
            _write_shard(group, stack.enter_context(whole_file(path)))
    return paths


def _write_shard(examples: Sequence[Example], path: Path) -> None:
    joined = b"".join(example.picture for example in examples)
    ends = np.cumsum([len(example.picture) for example in examples], dtype=np.int64)
    save_file(
        {
            "pictures": torch.from_numpy(np.frombuffer(joined, dtype=np.uint8).copy()),
            "ends": torch.from_numpy(ends),
            "embeddings": torch.stack([example.embedding for example in examples]).half(),
            "beneath": torch.tensor([NOTHING if example.beneath is None else example.beneath for example in examples]),
        },
        path,
        {"format": FORMAT, "descriptions": json.dumps([asdict(example.description) for example in examples])},
    )


def read_shards(folder: Path, name: str) -> list[Example]:
    """Every example of the shards ``name-*.safetensors`` in ``folder``; an empty list where there are none.

    Raises PictureError for a folder that is not there, a file that is no shard, or a damaged one.
    """
    if not folder.is_dir():
        raise PictureError(f"{folder} is no folder: make one with shards by 'velatura train-house pack'.")
    examples: list[Example] = []
    for path in sorted(folder.glob(f"{name}-*.safetensors")):
        try:
            examples.extend(_read_shard(path))
        except SafetensorError as error:
            raise PictureError(
                f"The shard {path} is damaged ({error}): make it again, with its folder's others."
            ) from None
    return examples


def _read_shard(path: Path) -> Iterator[Example]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise PictureError(f"{path} is not a shard of training pictures: make it with 'velatura train-house pack'.")
        joined = file.get_tensor("pictures").numpy().tobytes()
        ends = file.get_tensor("ends").tolist()
        embeddings = file.get_tensor("embeddings").float()
        # Shards of the first versions of this package do not say what lies beneath.
        known = "beneath" in file.keys()  # noqa: SIM118 (a safetensors file is no mapping)
        beneath = file.get_tensor("beneath").tolist() if known else [NOTHING] * len(ends)
    descriptions = [Description(**fields) for fields in json.loads(metadata["descriptions"])]
    starts = [0, *ends[:-1]]
    for start, end, description, embedding, number in zip(starts, ends, descriptions, embeddings, beneath, strict=True):
        yield Example(joined[start:end], description, embedding, None if number == NOTHING else number)
