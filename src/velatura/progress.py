"""How long work says where it is: a small face that a terminal, a page or nothing can stand behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Whoever watches: told of every item of a loop, and free to show it."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` one by one, showing how many of them are done."""
        ...

    def note(self, **values: float) -> None:
        """Named numbers of the current item, such as a loss."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        yield from items

    def note(self, **values: float) -> None:
        return None
