"""Results that are computed once and kept, in memory and in a folder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from velatura.whole_file import warn_not_kept

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
SUFFIX = ".safetensors"
TENSOR, KEY = "tensor", "key"  # in a file: the tensor's name, and the hash of its key


class Cache:
    """The ``limit`` most recently used results, by key; ``hits`` and ``misses`` are counted.

    With a ``folder``, tensors asked for through ``get_or_compute_tensor`` are kept there after the program ends, each
    with a checksum; the least recently used are deleted beyond ``limit_bytes`` in all. A folder that cannot be written
    is warned of once and otherwise done without.
    """

    def __init__(self, limit: int = 64, folder: Path | None = None, limit_bytes: int = 2 * 2**30) -> None:
        self.limit, self.folder, self.limit_bytes = limit, folder, limit_bytes
        self.hits = self.misses = 0
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, default: T) -> T:
        """The result kept under ``key``, or ``default``."""
        if key not in self._kept:
            self.misses += 1
            return default
        self.hits += 1
        self._kept.move_to_end(key)
        kept: T = self._kept[key]
        return kept

    def put(self, key: Hashable, result: Any) -> None:
        """Keep ``result`` under ``key``; the least recently used results beyond ``limit`` are dropped."""
        self._kept[key] = result
        self._kept.move_to_end(key)
        while len(self._kept) > self.limit:
            self._kept.popitem(last=False)

    def get_or_compute(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result kept under ``key``, computed and kept now if there is none."""
        missing = object()
        kept: Any = self.get(key, missing)
        if kept is missing:
            kept = compute()
            self.put(key, kept)
        result: T = kept
        return result

    def get_or_compute_tensor(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """``get_or_compute`` for a tensor, looked for in the folder too; computed again where its file is damaged."""
        return self.get_or_compute(key, lambda: self._from_folder(key, compute))

    def _from_folder(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if self.folder is None:
            return compute()
        from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors

        name = hashlib.sha256(repr(key).encode()).hexdigest()
        path = self.folder / (name + SUFFIX)
        try:
            tensors, metadata = read_tensors(path)
            if metadata == {KEY: name}:
                _mark_used(path)
                return tensors[TENSOR]
        except (OSError, DamagedFileError, KeyError):
            pass
        tensor = compute()
        try:
            write_tensors(path, {TENSOR: tensor}, {KEY: name})
            self._make_room(path)
        except OSError as error:
            warn_not_kept("cache", self.folder, error.strerror or str(error))
        return tensor

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used files beyond ``limit_bytes``; the newest stays."""
        files = []
        for path in newest.parent.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another program makes room at the same time
                state = path.stat()
                files.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit_bytes:
                return
            if path != newest:
                total -= size
                path.unlink(missing_ok=True)


def _mark_used(path: Path) -> None:
    with suppress(OSError):  # a cache that may only be read is of use all the same
        path.touch()


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values and shape, as part of a key."""
    values = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()
