"""Results that are computed once and kept, in memory and in a folder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
SUFFIX = ".safetensors"


class Cache:
    """The ``limit`` most recently used results, by key; ``hits`` and ``misses`` are counted.

    With a ``folder``, tensors asked for through ``get_or_compute_tensor`` are kept there after the program ends; the
    least recently used are deleted beyond ``limit_bytes`` in all.
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
        """``get_or_compute`` for a tensor, looked for in the folder too; a damaged file is computed again."""
        return self.get_or_compute(key, lambda: self._from_folder(key, compute))

    def _from_folder(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if self.folder is None:
            return compute()
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        path = self.folder / (hashlib.sha256(repr(key).encode()).hexdigest() + SUFFIX)
        try:
            tensor = load_file(path)["tensor"]
            path.touch()
            return tensor
        except (OSError, SafetensorError, KeyError):
            tensor = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        save_file({"tensor": tensor.cpu().contiguous()}, unfinished)
        unfinished.replace(path)
        self._make_room(path)
        return tensor

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used files beyond ``limit_bytes``; the newest stays."""
        files = sorted(newest.parent.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if total <= self.limit_bytes:
                return
            if path != newest:
                total -= path.stat().st_size
                path.unlink(missing_ok=True)


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values and shape, as part of a key."""
    values = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()
