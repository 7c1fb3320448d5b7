"""Where a batch's results go: a folder of pictures with a table beside them, or a Parquet dataset that holds them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from velatura.batch.outcome import FAILED, MADE, Outcome
from velatura.batch.place import Place
from velatura.batch.row import Row
from velatura.errors import TargetError

PARQUET = ".parquet"  # the ending of a place that is to be a Parquet dataset
TABLE, PICTURES = "table", ".batch/pictures"
ROW = ("content", "style", "method", "settings")
SCHEMA = pa.schema(
    [
        ("plan", pa.string()),
        ("row", pa.int64()),
        *((name, pa.string()) for name in ROW),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("state", "picture", "request", "sha256", "error")),
    ]
)
BYTES = pa.field("bytes", pa.binary())


@dataclass(frozen=True)
class Results:
    """Pictures by name in a ``place``, and the table of a ``plan``, by its name, in one Parquet file for each window.

    In a folder the pictures lie beside ``table/``, which holds the tables of all plans. In a place whose name ends in
    .parquet the files of the tables hold the pictures' bytes, and a window's pictures are kept apart until it is done.
    """

    place: Place
    plan: str

    @property
    def holds_pictures(self) -> bool:
        """Whether the table's files hold the pictures."""
        return self.place.url.rstrip("/").endswith(PARQUET)

    def find(self, picture: str, window: int) -> bytes | None:
        """The bytes of a picture that is there, None where it is not."""
        found = self.place.read(self._file(picture))
        if found is None and self.holds_pictures:
            return self._in_tables(picture, window)
        return found

    def keep(self, picture: str, data: bytes) -> None:
        """Write a picture whole."""
        self.place.write(self._file(picture), data)

    def write_window(self, window: int, rows: Sequence[Row], outcomes: Mapping[int, Outcome]) -> None:
        """Write a window's file of the table, which is the same however and whenever its rows were made."""
        entries = [{"plan": self.plan, **_entry(row, outcomes[row.number])} for row in rows]
        if self.holds_pictures:
            for entry in entries:
                entry["bytes"] = self._made(entry["picture"], window) if entry["picture"] else None
        schema = SCHEMA.append(BYTES) if self.holds_pictures else SCHEMA
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(entries, schema), buffer, compression="zstd")
        self.place.write(self.table_file(window), buffer.getvalue())
        if self.holds_pictures:
            for name in {entry["picture"] for entry in entries if entry["picture"]}:
                self.place.delete(self._file(name))

    def table_file(self, window: int) -> str:
        """The name of a window's file of the table."""
        name = f"{self.plan}{_ending(window)}"
        return name if self.holds_pictures else f"{TABLE}/{name}"

    def _file(self, picture: str) -> str:
        return f"{PICTURES}/{self.plan}/{picture}" if self.holds_pictures else picture

    def _made(self, picture: str, window: int) -> bytes:
        found = self.find(picture, window)
        if found is None:
            raise TargetError(f"{picture} was made, and is gone from {self.place.url}: give the same command again.")
        return found

    def _in_tables(self, picture: str, window: int) -> bytes | None:
        """A picture in this plan's file of a window, or in another plan's, which may have the same row there."""

        def search(file: Any) -> Any:
            return pq.read_table(file, columns=["bytes"], filters=[("picture", "==", picture)])

        names = [name for name in self.place.names("") if name.endswith(_ending(window))]
        for name in sorted(names, key=lambda name: name != self.table_file(window)):
            found = self.place.opened(name, search)
            if found is not None and found.num_rows:
                return bytes(found["bytes"][0].as_py())
        return None


def _ending(window: int) -> str:
    return f"_{window:06d}{PARQUET}"


def _entry(row: Row, outcome: Outcome) -> dict[str, Any]:
    """A row of the table; nothing in it tells when or where the row was made."""
    state = FAILED if outcome.state == FAILED else MADE
    told = {name: getattr(outcome, name) for name in ("picture", "request", "sha256", "error")}
    return {"row": row.number, **{name: getattr(row, name) for name in ROW}, "seed": row.seed, "state": state, **told}
