"""The pretrained weights inside this package: where they are, and how they are read.

They were converted once by ``scripts/convert_weights.py``. Every file's metadata names its source and its licence.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from velatura.errors import ModelError

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SCALE = ".scale"


def load_bundled(name: str) -> dict[str, Tensor]:
    """The tensors of ``<name>.safetensors`` or of all its shards ``<name>-00001-of-00002.safetensors``, in float32.

    Kernels are stored as whole numbers with a scale for each output channel beside them ("<kernel>.scale"); they are
    multiplied here. Each file's metadata holds the CRC-32 of its numbers. Raises ModelError when a file is missing or
    not as it was written.
    """
    stored: dict[str, Tensor] = {}
    try:
        for path in _shards(name):
            stored.update(_checked(path.read_bytes()))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"The weights '{name}' that come with velatura are missing or damaged: "
            "install it again with 'pip install --force-reinstall --no-deps velatura'."
        ) from error
    return multiplied(stored)


def multiplied(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors in float32, each times the scales of its output channels where it has some."""
    return {key: _multiplied(stored, key) for key in stored if not key.endswith(SCALE)}


def _multiplied(stored: Mapping[str, Tensor], key: str) -> Tensor:
    numbers, scale = stored[key].to(torch.float32), stored.get(key + SCALE)
    return numbers if scale is None else numbers * scale.float().reshape(-1, *(1,) * (numbers.ndim - 1))


def _shards(name: str) -> list[Path]:
    """The files of ``name`` in order. Raises FileNotFoundError unless all are there."""
    whole = WEIGHTS_FOLDER / f"{name}.safetensors"
    if whole.is_file():
        return [whole]
    found = sorted(WEIGHTS_FOLDER.glob(f"{name}-*-of-*.safetensors"))
    counts = {int(match[1]) for path in found if (match := re.search(r"-of-(\d+)\.safetensors$", path.name))}
    if counts != {len(found)}:
        raise FileNotFoundError(f"{len(found)} shards of {name}, where {sorted(counts)} are due")
    return found


def _checked(content: bytes) -> dict[str, Tensor]:
    """The tensors of one file. Raises ValueError, KeyError or SafetensorError where it is not as it was written."""
    start = 8 + int.from_bytes(content[:8], "little")
    expected = json.loads(content[8:start])["__metadata__"]["crc32"]
    if zlib.crc32(content[start:]) != int(expected, 16):
        raise ValueError("the numbers are not those that were written")
    return load(content)
