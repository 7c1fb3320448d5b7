"""velatura show: what a picture's manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velatura.app.options import ReportFile

if TYPE_CHECKING:
    from velatura.app.recorded import Recorded

Picture = Annotated[Path, typer.Argument(help="A picture that this program made.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the manifest as it is.")]
Folders = Annotated[
    list[Path] | None,
    typer.Option("--inputs", help="A folder to look in for the report's content and styles.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing report.")]


def show(
    picture: Picture, as_json: AsJson = False, report: ReportFile = None, inputs: Folders = None, force: Force = False
) -> None:
    """Show how a picture was made: its manifest, readable."""
    from velatura.app.recorded import Recorded

    recorded = Recorded.of(picture)
    if as_json:
        typer.echo(json.dumps(recorded.manifest, indent=2))
    elif report is None:
        _print_tables(recorded)
    if report is not None:
        typer.echo(_reported(recorded, report, inputs or [], force))


def _reported(recorded: Recorded, report: Path, inputs: list[Path], force: bool) -> Path:
    """The page on a picture, with the inputs that are found by their hashes."""
    from velatura.app.home import styles_folder
    from velatura.app.input_search import InputSearch
    from velatura.app.report.entries import write_report
    from velatura.app.report.gathering import Gathering
    from velatura.app.targets import Inputs, page_file
    from velatura.style import StyleLibrary

    target = page_file(report, Inputs([recorded.path]), force)
    search = InputSearch([recorded.path.parent, Path()], inputs)
    gathering = Gathering(StyleLibrary(styles_folder()), search)
    write_report(target, [gathering.entry_of_file(recorded)])
    return target


def _print_tables(recorded: Recorded) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from velatura.app.explaining import facts, region_rows, score_rows, setting_rows
    from velatura.app.repeating import repeating_command

    console = Console()

    def print_table(title: str, rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]], *headers: str) -> None:
        table = Table(*headers, show_header=any(headers), box=None)
        for row in rows:
            table.add_row(*(Text(_printable(cell), "" if number else "dim") for number, cell in enumerate(row)))
        if table.row_count:
            console.print(Text(_printable(title), "bold"), soft_wrap=True)
            console.print(Padding(table, (0, 0, 1, 0)))

    print_table(str(recorded.path), facts(recorded), "", "")
    print_table("Regions", region_rows(recorded), "", "where", "style", "weight", "part of the run")
    print_table("Settings that differ from the method's", setting_rows(recorded), "", "")
    print_table("Scores", score_rows(recorded), "", "", "")
    console.print(Text("To ask for it again", "bold"))
    console.print(Text(_printable(repeating_command(recorded))), soft_wrap=True)
    console.print(Text("To make it from its manifest", "bold"))
    console.print(Text(_printable(f"velatura reproduce {recorded.path}")), soft_wrap=True)


def _printable(text: str) -> str:
    """A text from a file without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
