"""What a benchmark or an evaluation found: rows, summed up as a whole and by kind of style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.benchmark.kinds import Kinds, rows_by_kind
from velatura.evaluation.benchmark.plan import Pair
from velatura.evaluation.benchmark.summary import Standing, standings

BOUNDS = ("photo", "style")  # outsiders whose pictures stand beside the results already


@dataclass(frozen=True)
class Heading:
    """What results are of: a title, the model or folder, the side that was measured at, what could not be made."""

    title: str
    subject: str
    side: int
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Results:
    """Rows of pairs; the paths of their pictures are relative to ``folder``."""

    heading: Heading
    rows: Sequence[Row]
    pairs: Sequence[Pair]
    folder: Path
    kinds: Kinds = field(default_factory=dict)

    @cached_property
    def standings(self) -> list[Standing]:
        """Every entry's measures summed up."""
        return standings(self.rows)

    @cached_property
    def standings_by_kind(self) -> Mapping[str, list[Standing]]:
        """The same of each kind of style."""
        return {kind: standings(rows) for kind, rows in rows_by_kind(self.rows, self.kinds).items()}

    @cached_property
    def shown(self) -> Mapping[Pair, list[Row]]:
        """The rows of each pair that has some, without those whose picture is the content or the style itself."""
        found: dict[tuple[str, str], list[Row]] = {(row["content"], row["style"]): [] for row in self.rows}
        for row in self.rows:
            if row["method"] not in BOUNDS:
                found[row["content"], row["style"]].append(row)
        names = {pair: (pair.content.name, pair.style.name) for pair in self.pairs}
        return {pair: found[name] for pair, name in names.items() if name in found}

    @property
    def shown_entries(self) -> list[str]:
        """The entries of those rows."""
        return list(dict.fromkeys(row["entry"] for row in self.rows if row["method"] not in BOUNDS))
