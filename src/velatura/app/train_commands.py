"""velatura train-house: the recipe of the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velatura.app.terminal import TerminalProgress
from velatura.errors import SettingError

app = typer.Typer(help="Train the embedded model.", invoke_without_command=True)

Folders = Annotated[list[Path] | None, typer.Option(help="A folder; repeatable.", show_default=False)]


@app.callback(invoke_without_command=True)
def train_house(
    context: typer.Context,
    photos: Folders = None,
    paintings: Folders = None,
    heldout: Folders = None,
    out: Annotated[Path, typer.Option(help="The run's folder: shards, logs, checkpoints, the model.")] = Path(
        "runs/house"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoints.")] = False,
    autoencoder_steps: Annotated[int, typer.Option(help="Steps of the autoencoder.")] = 6000,
    deeper_steps: Annotated[int, typer.Option(help="Steps of the same made deeper.")] = 8000,
    small_steps: Annotated[int, typer.Option(help="Steps of the denoiser on 128 px pictures.")] = 6000,
    large_steps: Annotated[int, typer.Option(help="Steps of the denoiser on 256 px pictures.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
) -> None:
    """Pack (unless OUT/shards is there), train the autoencoder, then the denoiser; check; OUT/denoiser/house is it."""
    if context.invoked_subcommand is not None:
        return
    from velatura.training.recipe import Recipe, run_recipe

    recipe = Recipe(autoencoder_steps, deeper_steps, small_steps, large_steps, seed)
    run_recipe(photos or [], paintings or [], heldout or [], out, recipe, resume, TerminalProgress())
    typer.echo(out / "denoiser" / "house")


@app.command("pack")
def pack_command(
    photos: Folders = None,
    paintings: Folders = None,
    heldout: Folders = None,
    out: Annotated[Path, typer.Option(help="Folder for the shards.")] = Path("runs/house/shards"),
    painted_share: Annotated[float, typer.Option(help="Share of the photos that is also painted over.")] = 0.6,
    seed: Annotated[int, typer.Option(help="Seed of the choices.")] = 0,
) -> None:
    """Pack pictures, captions and embeddings into shards: all that a training machine needs."""
    from velatura.training.pack import pack

    if not photos or not paintings:
        raise SettingError("Packing needs --photos and --paintings, a folder each.")
    for path in pack(photos, paintings, heldout or [], out, painted_share, seed, TerminalProgress()):
        typer.echo(path)


@app.command("check")
def check_command(
    model: Annotated[str, typer.Option(help="The model to check.")] = "house",
    shards: Annotated[Path, typer.Option(help="Folder with held-out shards.")] = Path("runs/house/shards"),
    out: Annotated[Path, typer.Option(help="Folder for the report and the sample grids.")] = Path("runs/house/check"),
) -> None:
    """Measure a model on the held-out pictures and draw its samples."""
    from velatura.training.check import check_house

    for name, value in check_house(model, shards, out, TerminalProgress()).items():
        typer.echo(f"{name}: {value}")
