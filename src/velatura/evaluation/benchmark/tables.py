"""The rows of a benchmark as CSV and, where pyarrow is installed, Parquet; their means as Markdown."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.benchmark.summary import Standing
from velatura.evaluation.measures import DIRECTIONS, title
from velatura.picture.writing import replacing

CSV, PARQUET, MARKDOWN = "results.csv", "results.parquet", "tables.md"


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


def write_markdown(found: Sequence[Standing], kinds: Mapping[str, Sequence[Standing]], folder: Path) -> Path:
    """Write the means, the means of the worst tenth by each measure, and the means of each kind of style.

    Raises PictureError where the file cannot be written.
    """
    costs = list(dict.fromkeys(name for each in found for name in each.costs))
    means = {each.entry: [*_means(each), *_costs(each, costs)] for each in found}
    titles = [title(name) for name in DIRECTIONS]
    parts = [
        "Means",
        markdown_table([*titles, *(name.replace("_", " ") for name in costs)], means),
        "Means of the worst tenth by each measure",
        markdown_table(titles, {each.entry: [each.measures[name].worst for name in DIRECTIONS] for each in found}),
    ]
    for kind, own in kinds.items():
        parts.append(f"Means of the kind {kind}, pairs: {max(each.pictures for each in own)}")
        parts.append(markdown_table(titles, {each.entry: _means(each) for each in own}))
    with replacing(folder / MARKDOWN) as file:
        file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder / MARKDOWN


def _means(each: Standing) -> list[float | None]:
    return [each.measures[name].mean for name in DIRECTIONS]


def _costs(each: Standing, names: Sequence[str]) -> list[float | None]:
    return [round(each.costs[name], 2) if name in each.costs else None for name in names]


def markdown_table(columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """A row of numbers by name, three digits each; None is an empty cell.

    >>> print(markdown_table(["a", "b"], {"x": [1.0, None]}))
    | | a | b |
    |---|---|---|
    | x | 1 |  |
    """
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, values in rows.items():
        cells = ["" if value is None else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" for value in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
