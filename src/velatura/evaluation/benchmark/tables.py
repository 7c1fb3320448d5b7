"""The rows of a benchmark as CSV and, where pyarrow is installed, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from velatura.evaluation.benchmark.kept import Row
from velatura.picture.writing import replacing

CSV, PARQUET = "results.csv", "results.parquet"


def write_tables(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the rows into a folder, each file whole; returns the files. Raises PictureError where they cannot be."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(folder / CSV) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    if find_spec("pyarrow") is None:
        return [folder / CSV]
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns})
    with replacing(folder / PARQUET) as unfinished:
        parquet.write_table(table, unfinished)
    return [folder / CSV, folder / PARQUET]
