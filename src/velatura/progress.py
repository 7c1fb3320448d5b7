"""Reporting of progress to a terminal, a page or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A receiver of progress reports."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` one by one and report how many are done; ``what`` names the loop."""
        ...

    def note(self, **values: float) -> None:
        """Report named numbers of the current item, such as a loss."""
        ...


class Silent:
    """Progress that is not shown."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        yield from items

    def note(self, **values: float) -> None:
        return None
