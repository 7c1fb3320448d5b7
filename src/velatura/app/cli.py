"""The command line. Torch is imported only by the commands that need it, so that --help answers at once."""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from velatura.app import commands
from velatura.app.command import with_options
from velatura.app.failures import Program, outlive_readers, told
from velatura.app.options import (
    Colours,
    Device,
    Dtype,
    LossWeights,
    MethodName,
    Model,
    Preset,
    ReportFile,
    Settings,
    Size,
    StyleScale,
    parse_settings,
    parse_size,
)
from velatura.app.terminal import TerminalProgress, console, say
from velatura.errors import SettingError
from velatura.registry import check_name, method_class

app = typer.Typer(
    name="velatura",
    help="Diffusion style transfer: the style goes on, the content stays.",
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
commands.add_to(app)

DEBUG = "--debug"


def print_version(wanted: bool) -> None:
    """Print the version and stop, if ``wanted``."""
    if wanted:
        from velatura import __version__

        typer.echo(f"velatura {__version__}")
        raise typer.Exit()


@app.callback()
def program(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show where in the program an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Diffusion style transfer: the style goes on, the content stays."""


@dataclass(frozen=True)
class StylizeOptions:
    """Arguments and options of ``velatura stylize``."""

    contents: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]
    style: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            "-s",
            help="A style picture, a fitted style's name, or text:words where the method takes words; repeated, each "
            "photo is done in each of them; repeated as NAME=WEIGHT, they are mixed.",
            show_default=False,
        ),
    ] = None
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="WHERE=STYLE, for methods with regions; repeatable, later over earlier. WHERE is a mask picture, "
            "box:x0,y0,x1,y1, point:x,y;x,y;not:x,y, polygon:x,y;x,y;x,y, text:words or segment:number, or not: and "
            "one of these for everything else. WHERE=STYLE*0.5 leaves half of the photo there; WHERE=STYLE@0-0.5 puts "
            "the style on in the first half of the steps only.",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A picture file for one result, a folder for several.",
            show_default="stylized.png, results",
        ),
    ] = None
    method: MethodName = "guided"
    preset: Preset = ""
    model: Model = "house"
    size: Size = None
    strength: Annotated[
        str | None,
        typer.Option(
            help="How far from the photo: 0 is the photo itself, 1 forgets it; several as 0.2,0.4; auto chooses for "
            "each photo, of three results, the knee of content against style.",
            show_default="method's",
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps: more take longer and are finer.", show_default="method's")
    ] = None
    seed: Annotated[int, typer.Option(help="The seed of everything random: the same seed gives the same picture.")] = 0
    loss: LossWeights = None
    setting: Settings = None
    colours: Colours = None
    style_scale: StyleScale = None
    layout: Annotated[
        str,
        typer.Option(
            help="flat, or paper: OUT/STYLE/wt_STRENGTH/{stylized,canny}/CONTENT.png.",
            show_default="without --out the method's, else flat",
        ),
    ] = ""
    report: ReportFile = None
    sidecar: Annotated[bool, typer.Option("--sidecar", help="Also write the manifest beside the picture.")] = False
    recursive: Annotated[bool, typer.Option("--recursive", help="Also the photos in subfolders.")] = False
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing files; without it results get the next free number.")
    ] = False
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave out results that are there, of the same photos, styles, settings."),
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the losses' values beside the bar.")] = False
    device: Device = "auto"
    dtype: Dtype = "auto"


def announce(model: str) -> None:
    """Say what is being loaded, which takes some seconds, where somebody watches."""
    if console.is_terminal:
        say(f"Loading the model {model} …")


@app.command()
@with_options(StylizeOptions)
def stylize(options: StylizeOptions) -> None:
    """Put a style on photos.

    Each result is saved when it is done. A photo that cannot be done is reported and skipped: the exit code is then 1,
    or 2 if none could be done.
    """
    check_name(options.method)
    announce(options.model)
    from velatura.app.files import find_contents
    from velatura.app.options import parse_regions, parse_strength_option, parse_styles
    from velatura.app.sweep import Sweep, Where
    from velatura.methods.validation import check_seed

    check_seed(options.seed)
    method, settings = parse_settings(options.method, options.setting, options.loss, options.preset)
    named = {
        "steps": options.steps,
        "colours": options.colours,
        "style_scale": options.style_scale,
    }
    settings |= parse_size(options.size) | {name: value for name, value in named.items() if value is not None}
    regions = parse_regions(options.region or [], method)
    contents = find_contents(options.contents, options.recursive, options.out or Path("results"))
    choices = parse_styles(options.style or [], regions)
    sweep = Sweep(contents, choices, regions, method, settings, parse_strength_option(options.strength))
    jobs = sweep.jobs(Where(options.out, options.layout, options.sidecar))
    from velatura.app.photo_progress import PhotoProgress
    from velatura.app.report.sweep_page import sweep_page
    from velatura.app.resume import Request, planned
    from velatura.app.studio import Studio
    from velatura.app.stylizing import Run
    from velatura.app.targets import page_file

    report = page_file(options.report, sweep.inputs(), options.force) if options.report else None
    progress = PhotoProgress(TerminalProgress(options.verbose))
    studio = Studio(options.model, options.device, options.dtype, progress=progress)
    request = Request(sweep, options.model, options.seed, studio.library, lambda: studio.backbone)
    plan = planned(sweep, jobs, options.force, request if options.resume else None)
    for note in plan.notes:
        say(note)
    with sweep_page(report, sweep, studio) as keep:
        run = Run(sweep, studio, request, options.seed, say, typer.echo, keep)
        run.make(plan, progress)
    if run.skipped:
        raise typer.Exit(1 if run.made or plan.made else 2)


@app.command("settings")
def list_settings(method: Annotated[str, typer.Argument(help="A method's name.", show_default=False)]) -> None:
    """List a method's settings for --set, with ranges, defaults and meaning."""
    check_name(method)
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from velatura.methods.shared_settings import NOT_PUBLISHED
    from velatura.methods.validation import UNSET, setting_specs

    chosen = method_class(method)
    table = Table("setting", "allowed", "default", "meaning", show_lines=True)
    for spec in setting_specs(chosen, NOT_PUBLISHED if chosen.as_published else ()):
        allowed, default = str(spec.allowed or spec.kind), "" if spec.default in ("", UNSET) else str(spec.default)
        table.add_row(spec.name, *(Text(cell.replace("``", "")) for cell in (allowed, default, spec.meaning)))
    Console().print(table)


@dataclass(frozen=True)
class FitOptions:
    """Arguments and options of ``velatura fit``."""

    pictures: Annotated[
        list[Path], typer.Argument(help="The style picture, or several of one style.", show_default=False)
    ]
    name: Annotated[str, typer.Option(help="The style's name.", show_default="the file's")] = ""
    method: MethodName = "guided"
    model: Model = "house"
    style_mask: Annotated[
        Path | None, typer.Option(help="White where the picture's style counts.", show_default=False)
    ] = None
    style_scale: StyleScale = None
    setting: Settings = None
    force: Annotated[bool, typer.Option("--force", help="Replace a style of the same name.")] = False
    device: Device = "auto"
    dtype: Dtype = "auto"


@app.command()
@with_options(FitOptions)
def fit(options: FitOptions) -> None:
    """Fit a style to a picture, or to several, and keep it under a name."""
    check_name(options.method)
    announce(options.model)
    from velatura.app.studio import Studio
    from velatura.errors import StyleError
    from velatura.methods.shared_settings import WHOLE
    from velatura.picture import open_picture

    studio = Studio(options.model, options.device, options.dtype, progress=TerminalProgress())
    pictures = [open_picture(picture) for picture in options.pictures]
    name = options.name or pictures[0].name
    studio.library.path(name)
    if studio.library.has(name) and not options.force:
        raise StyleError(f"There is a style '{name}' already: choose another --name, or replace it with --force.")
    method, settings = parse_settings(options.method, options.setting, None)
    settings |= {} if options.style_scale is None else {"style_scale": options.style_scale}
    fitted = studio.fit([*pictures], name, method, options.style_mask, **settings)
    studio.library.add(fitted, replace=options.force)
    curve = fitted.card.get("loss")
    if curve:
        reason = "the loss has levelled off" if fitted.card["stopped"] == "plateau" else "all steps are done"
        typer.echo(f"Loss {curve[0][1]:.4g} -> {curve[-1][1]:.4g} in {curve[-1][0]} steps: {reason}.")
    if fitted.card.get("style_ground") == WHOLE and not settings.get("style_ground"):
        say("The picture has a plain ground, which counts too: --set style_ground=figure leaves it out.")
    typer.echo(f"The style '{name}' is fitted: use it with --style {name!r}.")


def main() -> None:
    """Run the command line; what stops a command is printed as one sentence, with exit code 2."""
    outlive_readers()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    arguments = sys.argv[1:]
    debug = DEBUG in arguments
    try:
        with told(debug):
            refuse_empty(arguments)
        app([DEBUG, *(argument for argument in arguments if argument != DEBUG)] if debug else arguments)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)


def refuse_empty(arguments: list[str]) -> None:
    """Raise SettingError for an argument or a value without any letter, which Path would take for this folder."""
    if any(not argument or re.fullmatch(r"--[\w-]+=", argument) for argument in arguments):
        raise SettingError('An argument is empty (""): give it a value, or leave it and its option out.')


if __name__ == "__main__":
    main()
