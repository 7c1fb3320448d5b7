"""velatura models: list the known models; convert original ADM checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="List the known models, or convert an original ADM checkpoint.", invoke_without_command=True)


@app.callback()
def models(context: typer.Context) -> None:
    """List the known models with their source, size and licence, and whether they are on this machine."""
    if context.invoked_subcommand is not None:
        return
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


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A guided-diffusion checkpoint, as OpenAI's .pt.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="the file's stem")] = None,
    flags: Annotated[
        Path | None, typer.Option(help="The original flags as JSON, where they are not the released models'.")
    ] = None,
    image_size: Annotated[
        int, typer.Option(help="The side in pixels of its pictures.", show_default="by the number of its levels")
    ] = 0,
    head_channels: Annotated[int, typer.Option(help="Channels of an attention head.")] = 64,
    attention_order: Annotated[str, typer.Option(help="Of q, k and v in the file: legacy or new.")] = "legacy",
    schedule: Annotated[str, typer.Option(help="The noise schedule: linear or cosine.")] = "linear",
) -> None:
    """Convert a checkpoint of the ADM (guided diffusion) to a folder that --model takes."""
    import json

    from velatura.errors import ModelError
    from velatura.models.adm.architecture import AdmShape
    from velatura.models.adm.checkpoint import fitting_weights, save_adm, shape_of
    from velatura.models.loading.single_file import read_state_dict

    folder = out or file.with_suffix("")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} exists already: choose another --out.")
    if not file.is_file():
        raise ModelError(f"There is no file {file}: check the name of the checkpoint.")
    state = read_state_dict(file)
    if flags is None:
        given = {"head_channels": head_channels, "attention_order": attention_order, "schedule": schedule}
        shape = shape_of(state, **given | ({"image_size": image_size} if image_size else {}))
    else:
        try:
            read = json.loads(flags.read_text())
            shape = AdmShape.of_flags(read.get("flags", read))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(
                f"The flags in {flags} cannot be read ({error}): give JSON with the original's names."
            ) from None
    save_adm(fitting_weights(state, shape), shape, folder)
    typer.echo(folder)
