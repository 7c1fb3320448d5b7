"""The page on a benchmark: plot, tables, and a contact sheet that sorts itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.app.report.page import data_uri, write_page
from velatura.app.report.pareto import colours, pareto_plot
from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.benchmark.plan import Pair
from velatura.evaluation.benchmark.summary import INTERVAL, RESAMPLES, Standing, standings
from velatura.evaluation.measures import COMBINED, CONTENT, DIRECTIONS, HIGHER, STYLE, TAKEN
from velatura.version import __version__

THUMBNAIL = 224
BOUNDS = ("photo", "style")  # outsiders whose pictures stand in the contact sheet already
MOST_PICTURES = 600  # of results in a page, about 10 MB: more pairs than that are drawn from evenly
COSTS: Mapping[str, str] = {
    "seconds": "s",
    "fit_seconds": "s to fit",
    "evaluations": "evaluations",
    "peak_memory_mib": "peak MiB",
}


@dataclass(frozen=True)
class Heading:
    """What a page is about: its title, the model or folder, the side that was measured at, what could not be made."""

    title: str
    subject: str
    side: int
    failures: tuple[str, ...] = ()


def write_benchmark_report(
    path: Path, rows: Sequence[Row], pairs: Sequence[Pair], folder: Path, heading: Heading
) -> Path:
    """Write the page on rows, whose pictures' paths are relative to ``folder``; returns its path.

    Raises PictureError where it cannot be written.
    """
    found = standings(rows)
    shown = _shown(rows, pairs, len(found))
    write_page(
        path,
        "benchmark.html.j2",
        heading=heading,
        pairs=len({(row["content"], row["style"]) for row in rows}),
        pictures=len(rows),
        plot=pareto_plot(found),
        colours=colours(found),
        standings=found,
        groups=_groups(found),
        costs=[(name, title) for name, title in COSTS.items() if any(name in each.costs for each in found)],
        sheet=_sheet(shown, rows, folder),
        sheet_entries=list(dict.fromkeys(row["entry"] for row in rows if row["method"] not in BOUNDS)),
        shown=len(shown),
        measures=[{"name": name, "title": _title(name), "better": better} for name, better in DIRECTIONS.items()],
        command=_command(),
        versions=sorted({str(row["versions"]) for row in rows}),
        interval=INTERVAL,
        resamples=RESAMPLES,
        version=__version__,
    )
    return path


def _title(name: str) -> str:
    arrow = "↑" if DIRECTIONS[name] == HIGHER else "↓"
    return f"{name.removesuffix('_score').replace('_', ' ')} {arrow}"


def _groups(found: Sequence[Standing]) -> list[dict[str, Any]]:
    """The columns of both tables: name, title, meaning and the best entry's mean of each measure."""
    meanings = {CONTENT: "mean of edge F1, gradients and structure", STYLE: "mean closeness by Gram, deep and colour"}
    meanings |= {name: measure.meaning for name, measure in TAKEN.items()}
    return [
        {"name": name, "title": _title(name), "meaning": meanings[name], "combined": name in COMBINED}
        for name in DIRECTIONS
    ]


def _shown(rows: Sequence[Row], pairs: Sequence[Pair], entries: int) -> list[Pair]:
    """The pairs in the contact sheet: all, or as many as a page holds, evenly from the worst kept to the best."""
    most = max(1, MOST_PICTURES // max(1, entries))
    score: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        score.setdefault((row["content"], row["style"]), []).append(row[CONTENT])
    there = [pair for pair in pairs if (pair.content.name, pair.style.name) in score]
    if len(there) <= most:
        return there

    def mean(pair: Pair) -> float:
        values = score[pair.content.name, pair.style.name]
        return sum(values) / len(values)

    ordered = sorted(there, key=mean)
    return [ordered[round(number * (len(ordered) - 1) / max(1, most - 1))] for number in range(most)]


def _sheet(shown: Sequence[Pair], rows: Sequence[Row], folder: Path) -> Iterator[dict[str, Any]]:
    """Pairs of the contact sheet, each with content, style and all its results as thumbnails."""
    by_pair: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_pair.setdefault((row["content"], row["style"]), []).append(row)
    for pair in shown:
        yield {
            "name": pair.name,
            "content": {"name": pair.content.name, "uri": data_uri(pair.content.image, THUMBNAIL)},
            "style": {"name": pair.style.name, "uri": data_uri(pair.style.image, THUMBNAIL)},
            "results": [
                _result(row, folder)
                for row in by_pair[pair.content.name, pair.style.name]
                if row["method"] not in BOUNDS
            ],
        }


def _result(row: Row, folder: Path) -> dict[str, Any]:
    with Image.open(folder / row["picture"]) as image:
        uri = data_uri(image, THUMBNAIL)
    return {"entry": row["entry"], "uri": uri, "scores": {name: round(row[name], 4) for name in DIRECTIONS}}


def _command() -> str:
    """The command that wrote the page."""
    return shlex.join(["velatura", *sys.argv[1:]])
