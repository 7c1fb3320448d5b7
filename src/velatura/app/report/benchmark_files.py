"""All files that tell of a benchmark: rows, tables, contact sheets and the page."""

from __future__ import annotations

from pathlib import Path

from velatura.app.report.benchmark_page import write_benchmark_report
from velatura.app.report.benchmark_results import Results
from velatura.app.report.sheets import write_sheets
from velatura.evaluation.benchmark.tables import write_markdown, write_tables

REPORT = "report.html"


def write_results(results: Results, out: Path) -> list[Path]:
    """Write them into ``out``; returns the files, the page last. Raises PictureError where one cannot be written."""
    written = write_tables(results.rows, out)
    written.append(write_markdown(results.standings, results.standings_by_kind, out))
    written += write_sheets(results, out)
    written.append(write_benchmark_report(out / REPORT, results))
    return written
