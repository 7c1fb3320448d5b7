"""velatura models: list the known models; convert original ADM checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from velatura.app.command import with_options

app = typer.Typer(help="List the known models, or convert an original ADM checkpoint.", invoke_without_command=True)


@app.callback()
def models(context: typer.Context) -> None:
    """List the known models with their source, size and licence, and whether they are on this machine."""
    if context.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models() -> None:
    """List the known models with their source, size and licence, and whether they are on this machine."""
    from rich.console import Console
    from rich.table import Table

    from velatura.models.loading.catalogue import KNOWN
    from velatura.models.loading.load import is_present

    table = Table("name", "here", "MB", "licence", "source", "for")
    for model in KNOWN:
        place = model.place if model.source == "hub" else "in the package"
        table.add_row(
            model.name,
            "yes" if is_present(model) else "no",
            str(model.size),
            model.licence,
            place,
            model.purpose,
        )
    Console().print(table)


def _folder_of(file: Path) -> Path:
    """The folder named like a checkpoint; a file without an ending cannot share its name with a folder."""
    return file.with_suffix("") if file.suffix else file.with_name(f"{file.name}-converted")


@dataclass(frozen=True)
class ConvertOptions:
    """Arguments and options of ``velatura models convert``."""

    file: Annotated[Path, typer.Argument(help="A guided-diffusion checkpoint, as OpenAI's .pt.", show_default=False)]
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="the file's stem")] = None
    flags: Annotated[
        Path | None, typer.Option(help="The original flags as JSON, where they are not the released models'.")
    ] = None
    image_size: Annotated[
        int, typer.Option(help="The side in pixels of its pictures.", show_default="by the number of its levels")
    ] = 0
    head_channels: Annotated[int, typer.Option(help="Channels of an attention head.")] = 64
    attention_order: Annotated[str, typer.Option(help="Of q, k and v in the file: legacy or new.")] = "legacy"
    schedule: Annotated[str, typer.Option(help="The noise schedule: linear or cosine.")] = "linear"
    force: Annotated[bool, typer.Option("--force", help="Replace the model in an existing folder.")] = False


@app.command()
@with_options(ConvertOptions)
def convert(options: ConvertOptions) -> None:
    """Convert a checkpoint of the ADM (guided diffusion) to a folder that --model takes."""
    import json

    from velatura.app.targets import one_folder
    from velatura.errors import ModelError
    from velatura.models.adm.architecture import AdmShape
    from velatura.models.adm.checkpoint import fitting_weights, save_adm, shape_of
    from velatura.models.loading.single_file import read_state_dict

    file, flags = options.file, options.flags
    if not file.is_file():
        raise ModelError(f"There is no file {file}: check the name of the checkpoint.")
    folder = one_folder(options.out or _folder_of(file), [file, *([flags] if flags else [])], options.force)
    state = read_state_dict(file)
    if flags is None:
        names = ("head_channels", "attention_order", "schedule", *(("image_size",) if options.image_size else ()))
        shape = shape_of(state, **{name: getattr(options, name) for name in names})
    else:
        try:
            if not flags.is_file():
                raise ValueError("it is no file")
            read = json.loads(flags.read_text())
            shape = AdmShape.of_flags(read.get("flags", read))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(
                f"The flags in {flags} cannot be read ({error}): give JSON with the original's names."
            ) from None
    save_adm(fitting_weights(state, shape), shape, folder)
    typer.echo(folder)
