"""One row of a plan, and the share of rows that a worker takes at once."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One result to make: the ``number`` of its row in the plan, where content and style are (URLs, or a style's name
    or words), and how it is made.

    ``settings`` are the method's as JSON text. Rows of one ``group`` are worked on together, because they share an
    inversion, a fit or passes of the model.
    """

    number: int
    content: str
    style: str
    method: str
    settings: str = "{}"
    seed: int = 0
    group: str = ""

    @property
    def order(self) -> tuple[str, str, str, str, int, str, int]:
        """Sorts rows so that those that share most stand next to each other."""
        return self.group, self.method, self.settings, self.style, self.seed, self.content, self.number


@dataclass(frozen=True)
class Share:
    """Rows of one group and window that one worker takes at once.

    ``given_up`` are the numbers of rows that have cost too many workers their lives.
    """

    index: int
    window: int
    rows: tuple[Row, ...]
    given_up: frozenset[int] = field(default=frozenset())
