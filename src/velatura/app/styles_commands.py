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
    from velatura.app.home import styles_folder
    from velatura.style import StyleLibrary

    return StyleLibrary(styles_folder())


@app.command("list")
def list_styles() -> None:
    """List the styles with their method and model, damaged ones too."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    library = _library()
    table = Table("name", "method", "model", "picture")
    for name in library.names():
        table.add_row(*(Text(_printable(cell)) for cell in (name, *_described(library, name))))
    Console().print(table if table.row_count else "No styles yet: fit one with 'velatura fit PICTURE'.")


def _described(library: StyleLibrary, name: str) -> tuple[str, str, str]:
    """Method, model and picture of a style, or that it is damaged."""
    from velatura.errors import StyleError

    try:
        style = library.load(name)
    except StyleError:
        return "damaged", "", "fit or import it again, or remove it"
    return style.method, style.model, str(style.card.get("picture", ""))


def _printable(text: str) -> str:
    """A text from a file without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


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
    """Delete a style, damaged or not."""
    _library().remove(name)
    typer.echo(f"The style '{name}' is removed.")


@app.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", show_default=False)],
    format: Annotated[
        str,
        typer.Option(help="style (for velatura), textual-inversion or lora (for diffusers and others)."),
    ] = "style",
    token: Annotated[
        str,
        typer.Option(help="The word for the style in prompts, in the textual-inversion format.", show_default="<NAME>"),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a style to a file: in this program's format, or for diffusers."""
    from velatura.app.targets import one_file
    from velatura.errors import SettingError, StyleError
    from velatura.methods.s2prest.style import picture_word
    from velatura.models.lora_files import save_lora
    from velatura.style.textual_inversion import save_textual_inversion

    library = _library()
    style = library.load(name)
    out = one_file(out, [library.path(name)], force)
    if format == "style":
        style.save(out)
    elif format == "textual-inversion":
        word = picture_word(style)
        if word is None:
            raise StyleError(
                f"The style '{name}' has no word for its picture: fit it on a model that has such words, with --method "
                "s2prest, or import it with --picture."
            )
        save_textual_inversion(word, token or f"<{name}>", out)
    elif format == "lora":
        save_lora(style.tensors, out)
    else:
        raise SettingError(f"The format must be style, textual-inversion or lora, not '{format}'.")
    typer.echo(out)


@app.command("import")
def import_style(
    file: Annotated[Path, typer.Argument(help="A style file, InST's embeddings.pt, or a LoRA.", show_default=False)],
    name: Annotated[str, typer.Option(help="Keep it under this name.", show_default="its own")] = "",
    picture: Annotated[
        Path | None, typer.Option(help="The style picture that embeddings.pt was fitted on.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(help="The base model that embeddings or LoRA were fitted on.")] = "sd14",
    lora: Annotated[
        str | None,
        typer.Option(help="The file is a LoRA, fitted under this prompt.", metavar="PROMPT", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a style of the same name.")] = False,
) -> None:
    """Add a style file to the library; pickles are read without executing them."""
    from dataclasses import replace

    from velatura.app.imports import imported_embeddings, imported_lora
    from velatura.style import Style

    if lora is not None:
        style = imported_lora(file, name or file.stem, lora, model)
    elif file.suffix in (".pt", ".pth", ".bin"):
        style = imported_embeddings(file, name or file.stem, picture, model)
    else:
        style = Style.load(file)
    style = replace(style, name=name) if name else style
    _library().add(style, replace=force)
    typer.echo(f"The style '{style.name}' is imported.")
