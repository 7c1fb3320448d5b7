"""The commands that stand in files of their own."""

from __future__ import annotations

import typer

from velatura.app import (
    bench_command,
    evaluate_commands,
    mask_command,
    models_commands,
    result_commands,
    styles_commands,
    train_commands,
)
from velatura.app.command import with_options


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(styles_commands.app, name="styles")
    app.add_typer(train_commands.app, name="train-house")
    app.add_typer(models_commands.app, name="models")
    app.command("mask")(mask_command.mask)
    result_commands.add_to(app)
    app.command("bench")(with_options(bench_command.BenchOptions)(bench_command.bench))
    evaluate_commands.add_to(app)
