"""What was computed once and may be asked for again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memory:
    """The ``limit`` most recently used results, by key; ``hits`` and ``misses`` are counted."""

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        self.hits = self.misses = 0
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def recall(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result kept under ``key``, computed now if there is none."""
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
        else:
            self.misses += 1
            self._kept[key] = compute()
            while len(self._kept) > self.limit:
                self._kept.popitem(last=False)
        kept: T = self._kept[key]
        return kept
