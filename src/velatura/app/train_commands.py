"""velatura train-house: train the embedded model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velatura.app.command import with_options
from velatura.app.terminal import TerminalProgress, say
from velatura.errors import ModelError, SettingError

if TYPE_CHECKING:
    from velatura.models.house.backbone import HouseBackbone

app = typer.Typer(help="Train the embedded model.", invoke_without_command=True)

Folders = Annotated[list[Path] | None, typer.Option(help="A folder; repeatable.", show_default=False)]

Minutes = Annotated[
    float, typer.Option(help="How long it goes on once all is ready; it ends by itself.", min=0, max=100_000)
]


@dataclass(frozen=True)
class TrainOptions:
    """Arguments and options of ``velatura train-house``."""

    context: typer.Context
    photos: Folders = None
    paintings: Folders = None
    heldout: Folders = None
    out: Annotated[Path, typer.Option(help="The run's folder: shards, logs, checkpoints, the model.")] = Path(
        "runs/house"
    )
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoints.")] = False
    autoencoder_steps: Annotated[int, typer.Option(help="Steps of the autoencoder.", min=1)] = 6000
    deeper_steps: Annotated[int, typer.Option(help="Steps of the same made deeper.", min=1)] = 8000
    small_steps: Annotated[int, typer.Option(help="Steps of the denoiser on 128 px pictures.", min=1)] = 6000
    large_steps: Annotated[int, typer.Option(help="Steps of the denoiser on 256 px pictures.", min=1)] = 4000
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0


@app.callback(invoke_without_command=True)
@with_options(TrainOptions)
def train_house(options: TrainOptions) -> None:
    """Pack (unless OUT/shards exists), train autoencoder and denoiser, check; the model is OUT/denoiser/house."""
    command = options.context.invoked_subcommand
    if command is not None:
        _check_none_given(options.context, command)
        return
    from velatura.training.pack import Sources
    from velatura.training.recipe import Recipe, run_recipe

    recipe = Recipe(
        options.autoencoder_steps, options.deeper_steps, options.small_steps, options.large_steps, options.seed
    )
    pictures = Sources(options.photos or [], options.paintings or [], options.heldout or [])
    run_recipe(pictures, options.out, recipe, options.resume, TerminalProgress())
    typer.echo(options.out / "denoiser" / "house")


def _check_none_given(context: typer.Context, command: str) -> None:
    """Raise SettingError for options that stand before a sub-command, where they would do nothing."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.replace("_", "-")
            raise SettingError(f"--{option} stands before '{command}', where it does nothing: write it behind.")


@dataclass(frozen=True)
class PackOptions:
    """Options of ``velatura train-house pack``."""

    photos: Folders = None
    paintings: Folders = None
    heldout: Folders = None
    out: Annotated[Path, typer.Option(help="Folder for the shards.")] = Path("runs/house/shards")
    painted_share: Annotated[
        float, typer.Option(help="Share of the photos that is also painted over.", min=0, max=1)
    ] = 0.6
    quality: Annotated[int, typer.Option(help="WebP quality of the pictures.", min=1, max=100)] = 82
    seed: Annotated[int, typer.Option(help="Seed of the choices.")] = 0


@app.command("pack")
@with_options(PackOptions)
def pack_command(options: PackOptions) -> None:
    """Pack pictures, captions and embeddings into shards, the only input of training."""
    from velatura.training.check import CONTENTS, LEAST_STYLES
    from velatura.training.pack import Sources, pack, pictures_in

    photos, paintings = _folders(options.photos, options.paintings, "Packing needs")
    held_out = len(pictures_in(options.heldout)) if options.heldout else 0
    if held_out < CONTENTS + LEAST_STYLES:
        say(
            f"There are {held_out} held-out pictures: 'train-house further' needs some, and 'train-house check' "
            f"{CONTENTS} contents and {LEAST_STYLES} or more styles after them. Give such a folder with --heldout."
        )
    pictures = Sources(photos, paintings, options.heldout or [])
    packed = pack(pictures, options.out, options.painted_share, options.seed, TerminalProgress(), options.quality)
    for path in packed:
        typer.echo(path)


@dataclass(frozen=True)
class PairsOptions:
    """Options of ``velatura train-house pairs``."""

    photos: Folders = None
    paintings: Folders = None
    out: Annotated[Path, typer.Option(help="The folder to which files of pairs are added.")] = Path("runs/pairs")
    teacher: Annotated[str, typer.Option(help="Who paints: magenta, guided, or quick (guided's preset).")] = "quick"
    model: Annotated[str, typer.Option(help="The house model in whose latents they are.")] = "house"
    minutes: Minutes = 60.0
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0


@app.command("pairs")
@with_options(PairsOptions)
def pairs_command(options: PairsOptions) -> None:
    """Have a teacher paint photos in the styles of paintings, for the fast adapter to follow."""
    from velatura.training.fast.making import make_pairs
    from velatura.training.fast.teachers import TEACHERS
    from velatura.training.pack import check_pictures, pictures_in

    photos, paintings = _folders(options.photos, options.paintings, "Pairs need")
    if options.teacher not in TEACHERS:
        raise SettingError(f"There is no teacher {options.teacher}: take one of {', '.join(TEACHERS)}.")
    pictures = (pictures_in(photos), pictures_in(paintings))
    check_pictures([*pictures[0], *pictures[1]], TerminalProgress())
    backbone = _house(options.model, options.device)
    say(f"Painting for {options.minutes:g} minutes: up to sixteen pairs a file.")
    made = make_pairs(backbone, pictures, options.out, TEACHERS[options.teacher], options.minutes, options.seed)
    typer.echo(f"{made} {'pair' if made == 1 else 'pairs'} in {options.out}")


@dataclass(frozen=True)
class FastOptions:
    """Options of ``velatura train-house fast``."""

    pairs: Folders = None
    out: Annotated[Path, typer.Option(help="The run's folder: log, checkpoint, the adapter.")] = Path("runs/fast")
    model: Annotated[str, typer.Option(help="The house model to adapt.")] = "house"
    minutes: Minutes = 60.0
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False
    device: Annotated[str, typer.Option(help="Where to train: auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0


@app.command("fast")
@with_options(FastOptions)
def fast_command(options: FastOptions) -> None:
    """Train the adapter of --method fast; it acts when OUT/fast_adapter.safetensors lies in the model's folder."""
    from velatura.training.fast.recipe import FastRecipe
    from velatura.training.fast.training import train_fast

    if not options.pairs:
        raise SettingError("Training needs --pairs, a folder that 'velatura train-house pairs' has filled.")
    backbone = _house(options.model, options.device)
    say(f"Training for {options.minutes:g} minutes: the losses go to {options.out / 'log.jsonl'}.")
    recipe = FastRecipe(minutes=options.minutes, seed=options.seed)
    typer.echo(train_fast(backbone, options.pairs, options.out, recipe, options.resume))


@dataclass(frozen=True)
class StrokesOptions:
    """Options of ``velatura train-house strokes``."""

    photos: Folders = None
    paintings: Folders = None
    out: Annotated[Path, typer.Option(help="The run's folder: log, checkpoint, the network.")] = Path("runs/strokes")
    model: Annotated[str, typer.Option(help="The house model, with a fast adapter, whose pictures get strokes.")] = (
        "house"
    )
    minutes: Minutes = 60.0
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False
    device: Annotated[str, typer.Option(help="Where to train: auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0


@app.command("strokes")
@with_options(StrokesOptions)
def strokes_command(options: StrokesOptions) -> None:
    """Train the strokes of --method fast; they act when OUT/fast_strokes.safetensors lies in the model's folder."""
    from velatura.training.pack import pictures_in
    from velatura.training.strokes.recipe import StrokesRecipe
    from velatura.training.strokes.training import train_strokes

    photos, paintings = _folders(options.photos, options.paintings, "Training needs")
    pictures = (pictures_in(photos), pictures_in(paintings))
    backbone = _house(options.model, options.device)
    say(f"Training for {options.minutes:g} minutes, once the first pictures are painted.")
    say(f"The losses go to {options.out / 'log.jsonl'}.")
    recipe = StrokesRecipe(minutes=options.minutes, seed=options.seed)
    typer.echo(train_strokes(backbone, pictures, options.out, recipe, options.resume, TerminalProgress()))


def _folders(photos: Folders, paintings: Folders, who_needs: str) -> tuple[list[Path], list[Path]]:
    """The folders of photos and of paintings.

    Raises SettingError, which says ``who_needs`` them, where one kind is missing.
    """
    if not photos or not paintings:
        raise SettingError(f"{who_needs} --photos and --paintings, a folder each.")
    return photos, paintings


def _house(model: str, device: str) -> HouseBackbone:
    """A house model in full precision. Raises ModelError for another kind of model."""
    from velatura.models.house.backbone import HouseBackbone
    from velatura.models.loading.load import load_backbone

    backbone = load_backbone(model, device, "fp32")
    if not isinstance(backbone, HouseBackbone):
        raise ModelError(f"The model {model} is not of house's kind: give house, or a model trained like it.")
    return backbone


@dataclass(frozen=True)
class FurtherOptions:
    """Options of ``velatura train-house further``."""

    shards: Annotated[Path, typer.Option(help="Folder with training and held-out shards.")] = Path("runs/house/shards")
    out: Annotated[Path, typer.Option(help="The run's folder: latents, log, checkpoint, the model.")] = Path(
        "runs/further"
    )
    model: Annotated[str, typer.Option(help="The house model to start from.")] = "house"
    minutes: Minutes = 60.0
    batch: Annotated[int, typer.Option(help="Crops of 128 px at a time; a quarter as many of 256 px.", min=1)] = 48
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False
    compile: Annotated[bool, typer.Option("--compile", help="Compile the training pass (for a GPU).")] = False
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0


@app.command("further")
@with_options(FurtherOptions)
def further_command(options: FurtherOptions) -> None:
    """Train a house model on for a time; its autoencoder stays as it is. The model is OUT/house."""
    from velatura.training.further.recipe import FurtherRecipe
    from velatura.training.further.training import train_further
    from velatura.training.training_log import TrainingRun

    backbone = _house(options.model, "cpu")
    say(f"Training for {options.minutes:g} minutes: the losses go to {options.out / 'log.jsonl'}.")
    recipe = FurtherRecipe(minutes=options.minutes, batch=options.batch, compiled=options.compile, seed=options.seed)
    run = TrainingRun(options.shards, options.out, options.resume, TerminalProgress())
    typer.echo(train_further(backbone, run, recipe))


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
