"""Progress bars in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

T = TypeVar("T")

console = Console(stderr=True)


class TerminalProgress:
    """A bar on standard error for each loop: its steps, the time left and the numbers last noted."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._numbers = ""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
        )
        outer, self._numbers = self._bar, ""
        self._bar = bar
        try:
            with bar:
                task = bar.add_task(what, total=len(items), numbers="")
                for item in items:
                    yield item
                    bar.update(task, advance=1, numbers=self._numbers)
        finally:
            self._bar = outer

    def note(self, **values: float) -> None:
        self._numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
