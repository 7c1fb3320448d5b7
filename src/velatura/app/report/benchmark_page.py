"""The page on a benchmark: plot, tables, and a contact sheet that sorts itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.app.report.benchmark_results import Results
from velatura.app.report.page import data_uri, write_page
from velatura.app.report.pareto import colours, pareto_plot
from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.benchmark.plan import Pair
from velatura.evaluation.benchmark.summary import INTERVAL, RESAMPLES
from velatura.evaluation.measures import CONTENT, DIRECTIONS, STYLE, TAKEN, title
from velatura.version import __version__

THUMBNAIL = 224
MOST_PICTURES = 600  # of results in a page, about 10 MB: more pairs than that are drawn from evenly
COSTS: Mapping[str, str] = {
    "seconds": "s",
    "fit_seconds": "s to fit",
    "evaluations": "evaluations",
    "peak_memory_mib": "peak MiB",
}


def write_benchmark_report(path: Path, results: Results) -> Path:
    """Write the page on results; returns its path. Raises PictureError where it cannot be written."""
    found = results.standings
    shown = _shown(results)
    write_page(
        path,
        "benchmark.html.j2",
        heading=results.heading,
        pairs=len(results.shown),
        pictures=len(results.rows),
        plot=pareto_plot(found),
        colours=colours(found),
        standings=found,
        kinds=results.standings_by_kind,
        costs=[(name, text) for name, text in COSTS.items() if any(name in each.costs for each in found)],
        sheet=_sheet(shown, results),
        sheet_entries=results.shown_entries,
        shown=len(shown),
        measures=_measures(),
        command=_command(),
        versions=sorted({str(row["versions"]) for row in results.rows}),
        interval=INTERVAL,
        resamples=RESAMPLES,
        version=__version__,
    )
    return path


def _measures() -> list[dict[str, Any]]:
    """The columns of the tables: name, title, meaning and better end of each measure."""
    meanings = {CONTENT: "mean of edge F1, gradients and structure", STYLE: "mean closeness by Gram, deep and colour"}
    meanings |= {name: measure.meaning for name, measure in TAKEN.items()}
    return [
        {"name": name, "title": title(name), "meaning": meanings[name], "better": better}
        for name, better in DIRECTIONS.items()
    ]


def _shown(results: Results) -> list[Pair]:
    """The pairs in the contact sheet: all, or as many as a page holds, evenly from the worst kept to the best."""
    most = max(1, MOST_PICTURES // max(1, len(results.shown_entries)))
    if len(results.shown) <= most:
        return [*results.shown]

    def mean(pair: Pair) -> float:
        values: list[float] = [row[CONTENT] for row in results.shown[pair]]
        return sum(values) / max(1, len(values))

    ordered = sorted(results.shown, key=mean)
    return [ordered[round(number * (len(ordered) - 1) / max(1, most - 1))] for number in range(most)]


def _sheet(shown: Sequence[Pair], results: Results) -> Iterator[dict[str, Any]]:
    """Pairs of the contact sheet, each with content, style and all its results as thumbnails."""
    for pair in shown:
        yield {
            "name": pair.name,
            "content": {"name": pair.content.name, "uri": data_uri(pair.content.image, THUMBNAIL)},
            "style": {"name": pair.style.name, "uri": data_uri(pair.style.image, THUMBNAIL)},
            "results": [_result(row, results.folder) for row in results.shown[pair]],
        }


def _result(row: Row, folder: Path) -> dict[str, Any]:
    with Image.open(folder / row["picture"]) as image:
        uri = data_uri(image, THUMBNAIL)
    return {"entry": row["entry"], "uri": uri, "scores": {name: round(row[name], 4) for name in DIRECTIONS}}


def _command() -> str:
    """The command that wrote the page."""
    return shlex.join(["velatura", *sys.argv[1:]])
