"""The commands that stand in files of their own."""

from __future__ import annotations

import typer

from velatura.app import (
    batch_command,
    bench_command,
    evaluate_commands,
    mask_command,
    models_commands,
    result_commands,
    serve_command,
    styles_commands,
    train_commands,
    ui_command,
)
from velatura.app.command import with_options


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(styles_commands.app, name="styles")
    app.add_typer(train_commands.app, name="train-house")
    app.add_typer(models_commands.app, name="models")
    app.command("serve")(serve_command.serve)
    app.command("ui")(ui_command.ui)
    app.command("mask")(mask_command.mask)
    result_commands.add_to(app)
    app.command("bench")(with_options(bench_command.BenchOptions)(bench_command.bench))
    app.command("batch")(with_options(batch_command.BatchOptions)(batch_command.batch))
    evaluate_commands.add_to(app)
