"""Progress and sentences in a terminal, or in a file that a terminal's output goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

console = Console(stderr=True)


def say(text: str, style: str = "") -> None:
    """Print a sentence on standard error as it is: brackets are no markup, and control characters are escaped."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    console.print(Text(shown, style), soft_wrap=True)


class TerminalProgress:
    """A bar on standard error for each loop: count, time left and name, in 80 columns.

    With ``verbose``, the numbers last noted stand behind it. Where standard error is no terminal, a loop is one plain
    line when it begins.
    """

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._bar: Bar | None = None
        self._numbers = ""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` one by one under a bar named ``what``."""
        if not console.is_terminal:
            say(f"{what}: {len(items)} steps")
            yield from items
            return
        outer, self._numbers = self._bar, ""
        self._bar = bar = self._make_bar()
        try:
            with bar:
                task = bar.add_task(what, total=len(items), numbers="")
                for item in items:
                    yield item
                    bar.update(task, advance=1, numbers=self._numbers)
        finally:
            self._bar = outer

    def _make_bar(self) -> Bar:
        columns = [
            BarColumn(bar_width=20),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9)),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=8)),
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=20 if self._verbose else 36),
            ),
        ]
        if self._verbose:
            columns.append(TextColumn("{task.fields[numbers]}", markup=False, table_column=Column(overflow="fold")))
        return Bar(*columns, console=console, transient=True)

    def note(self, **values: float) -> None:
        """Keep named numbers for the bar."""
        self._numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """A terminal shows no pictures."""
