"""Files of named tensors that notice their own damage: safetensors with a checksum in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from velatura.whole_file import whole_file

CHECKSUM = "sha256"
LENGTH, METADATA = 8, "__metadata__"  # of the safetensors format


class DamagedFileError(ValueError):
    """A file's bytes are not those that were written, or it never was a file of tensors."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors with text ``metadata``, whole or not at all. Raises OSError where that is impossible."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = _in_order(save(own, {**metadata, CHECKSUM: checksum(own, metadata)}))
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def _in_order(content: bytes) -> bytes:
    """The bytes of a safetensors file with its metadata's keys sorted: the library writes them in any order.

    The file is the header's length in 8 bytes, the header in JSON, padded to a multiple of 8, and the tensors.
    """
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    header = json.loads(content[LENGTH:end])
    header[METADATA] = dict(sorted(header[METADATA].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH)
    return len(text).to_bytes(LENGTH, "little") + text + content[end:]


def read_tensors(path: Path, needs_checksum: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Named tensors, on the CPU, and metadata of a file that ``write_tensors`` wrote.

    Raises DamagedFileError for a changed byte, and for a file without checksum unless ``needs_checksum`` is off;
    OSError where there is no such regular file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(str(error)) from None
    expected = metadata.pop(CHECKSUM, None)
    if (expected is not None or needs_checksum) and expected != checksum(tensors, metadata):
        raise DamagedFileError("its bytes are not those that were written")
    return tensors, metadata


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes of ``tensors``, and of ``metadata``."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """The bytes of a tensor's values, of any type, in order."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
