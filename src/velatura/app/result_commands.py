"""The commands on results that are there: show, reproduce, compare."""

from __future__ import annotations

import typer

from velatura.app.command import with_options
from velatura.app.compare_command import CompareOptions, compare
from velatura.app.reproduce_command import ReproduceOptions, reproduce
from velatura.app.show_command import show


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("show")(show)
    app.command("reproduce")(with_options(ReproduceOptions)(reproduce))
    app.command("compare")(with_options(CompareOptions)(compare))
