"""A plan in its working form: rows sorted within windows and cut into shares, in one Parquet file."""

from __future__ import annotations

import hashlib
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq

from velatura.batch.place import Place
from velatura.batch.row import Row, Share
from velatura.errors import SettingError
from velatura.methods.validation import Range, check_settings

FOLDER = ".batch"
NAME_DIGITS = 16  # of the hash that names a plan
COLUMNS = ("number", "content", "style", "method", "settings", "seed", "group")
SCHEMA = pa.schema(
    [(name, pa.int64() if name in ("number", "seed") else pa.string()) for name in COLUMNS] + [("share", pa.int64())]
)


@dataclass(frozen=True)
class Cut:
    """How a plan is cut: so many rows are sorted and kept in memory at once, and a worker takes so many."""

    window: Annotated[int, Range(1, 100_000)] = 256
    share: Annotated[int, Range(1, 10_000)] = 16

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(eq=False)
class Plan:
    """The working form of a plan in a ``place``. Of its rows only a window is ever in memory.

    ``name`` is a hash of its rows, of how it is cut, and of what else decides about its pictures: each plan has its own
    files in a place. ``first_shares`` are the numbers of the windows' first shares.
    """

    place: Place
    name: str
    window: int
    rows: int
    shares: int
    first_shares: Sequence[int]
    _read: tuple[int, list[Share]] = field(default=(-1, []), repr=False)

    @property
    def file(self) -> str:
        """The name of its working form in the place."""
        return f"{FOLDER}/{self.name}.parquet"

    def share(self, index: int) -> Share:
        """One share by its number."""
        number = bisect_right(self.first_shares, index) - 1
        return self.shares_of(number)[index - self.first_shares[number]]

    def all_shares(self) -> Iterator[Share]:
        """The shares in order, read window by window."""
        for number in range(len(self.first_shares)):
            yield from self.shares_of(number)

    def rows_of(self, window: int) -> list[Row]:
        """The rows of a window in the plan's order."""
        rows = (row for share in self.shares_of(window) for row in share.rows)
        return sorted(rows, key=lambda row: row.number)

    def size_of(self, window: int) -> int:
        """How many rows a window has."""
        return min(self.window, self.rows - window * self.window)

    def shares_of(self, window: int) -> list[Share]:
        """The shares of a window."""
        if self._read[0] != window:
            self._read = (window, self._shares_from_file(window))
        return self._read[1]

    def _shares_from_file(self, window: int) -> list[Share]:
        records = self.place.opened(self.file, lambda file: pq.ParquetFile(file).read_row_group(window).to_pylist())
        if records is None:
            raise SettingError(f"{self.place.url}/{self.file} is gone: start the batch again.")
        return [
            Share(index, window, tuple(Row(**{name: entry[name] for name in COLUMNS}) for entry in entries))
            for index, entries in groupby(records, key=lambda entry: int(entry["share"]))
        ]


def write_plan(rows: Iterable[Row], place: Place, cut: Cut, made_by: str = "") -> Plan:
    """Write a plan's working form, window by window; ``made_by`` tells what decides about all its pictures.

    Raises SettingError for a plan without rows.
    """
    first_shares, count, index = [], 0, 0
    digest = hashlib.sha256(f"{cut} {made_by}".encode())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.parquet"
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for window in _windows(rows, cut.window):
                first_shares.append(index)
                shares = list(_shares(window, cut.share))
                writer.write_table(_table(shares, index))
                digest.update("\n".join(map(repr, window)).encode())
                count, index = count + len(window), index + len(shares)
        if not count:
            raise SettingError("The plan has no rows: give contents and styles.")
        plan = Plan(place, digest.hexdigest()[:NAME_DIGITS], cut.window, count, index, first_shares)
        place.write(plan.file, file.read_bytes())
    return plan


def _windows(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    source = iter(rows)
    while window := list(islice(source, size)):
        yield window


def _shares(window: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """The rows of each group, at most so many at a time."""
    for _, group in groupby(sorted(window, key=lambda row: row.order), key=lambda row: row.group):
        while share := list(islice(group, most)):
            yield share


def _table(shares: Sequence[Sequence[Row]], first: int) -> Any:
    entries = [{**asdict(row), "share": first + number} for number, share in enumerate(shares) for row in share]
    return pa.Table.from_pylist(entries, SCHEMA)
