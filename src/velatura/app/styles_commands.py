"""velatura styles: the style library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from velatura.style import StyleLibrary

app = typer.Typer(help="The style library.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The style's name.", show_default=False)]


def _library() -> StyleLibrary:
    from velatura.app.home import home
    from velatura.style import StyleLibrary

    return StyleLibrary(home() / "styles")


@app.command("list")
def list_styles() -> None:
    """List the styles with their method and model."""
    from rich.console import Console
    from rich.table import Table

    library = _library()
    table = Table("name", "method", "model", "picture")
    for name in library.names():
        style = library.load(name)
        table.add_row(name, style.method, style.model, str(style.card.get("picture", "")))
    Console().print(table if table.row_count else "No styles yet: fit one with 'velatura fit PICTURE'.")


@app.command()
def show(name: Name) -> None:
    """Print a style's card."""
    style = _library().load(name)
    tensors = {key: list(value.shape) for key, value in style.tensors.items()}
    header = {
        "name": style.name,
        "method": style.method,
        "model": style.model,
        "fingerprint": style.fingerprint,
    }
    typer.echo(json.dumps({**header, "card": dict(style.card), "tensors": tensors}, indent=2))


@app.command()
def remove(name: Name) -> None:
    """Delete a style."""
    _library().remove(name)
    typer.echo(f"The style '{name}' is removed.")


@app.command()
def export(name: Name, out: Annotated[Path, typer.Option(help="The style file to write.", show_default=False)]) -> None:
    """Write a style to a file that others can import."""
    _library().load(name).save(out)
    typer.echo(out)


@app.command("import")
def import_style(
    file: Annotated[Path, typer.Argument(help="A style file.", show_default=False)],
    name: Annotated[str, typer.Option(help="Keep it under this name.", show_default="its own")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a style of the same name.")] = False,
) -> None:
    """Take a style file into the library."""
    from dataclasses import replace

    from velatura.style import Style

    style = Style.load(file)
    style = replace(style, name=name) if name else style
    _library().add(style, replace=force)
    typer.echo(f"The style '{style.name}' is imported.")
