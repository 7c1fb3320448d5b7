"""The command line. Torch is imported only by the commands that need it, so that --help answers at once."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from velatura.app import mask_command, models_commands, styles_commands, train_commands
from velatura.app.command import with_options
from velatura.app.options import Device, Dtype, LossWeights, MethodName, Model, Preset, Settings, parse_settings
from velatura.app.terminal import TerminalProgress, console
from velatura.errors import VelaturaError

app = typer.Typer(
    name="velatura",
    help="Diffusion style transfer: the style goes on, the content stays.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(styles_commands.app, name="styles")
app.add_typer(train_commands.app, name="train-house")
app.add_typer(models_commands.app, name="models")
app.command("mask")(mask_command.mask)


@dataclass(frozen=True)
class StylizeOptions:
    """Arguments and options of ``velatura stylize``."""

    contents: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]
    style: Annotated[
        list[str] | None,
        typer.Option(
            help="A style picture, a fitted style's name, or text:words where the method takes words; NAME=WEIGHT, "
            "repeated, mixes several.",
            show_default=False,
        ),
    ] = None
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="WHERE=STYLE, or WHERE=STYLE@FROM-TO for a part of the run, for methods with regions; repeatable, "
            "later over earlier; WHERE is a mask picture, box:x0,y0,x1,y1, point:x,y;x,y, "
            "polygon:x,y;x,y;x,y, text:words or segment:number.",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(help="A picture file for one result, a folder for several.", show_default="stylized.png, results"),
    ] = None
    method: MethodName = "guided"
    preset: Preset = ""
    model: Model = "house"
    size: Annotated[
        int | None,
        typer.Option(help="Working length of the short side in pixels.", show_default="the photo's within limits"),
    ] = None
    strength: Annotated[
        str | None, typer.Option(help="0 (the photo itself) to 1; several: 0.2,0.4.", show_default="method's")
    ] = None
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default="method's")] = None
    seed: Annotated[int, typer.Option(help="Same seed, same picture.")] = 0
    loss: LossWeights = None
    setting: Settings = None
    layout: Annotated[
        str,
        typer.Option(
            help="flat, or paper: OUT/STYLE/wt_STRENGTH/{stylized,canny}/CONTENT.png.",
            show_default="without --out the method's, else flat",
        ),
    ] = ""
    sidecar: Annotated[bool, typer.Option("--sidecar", help="Also write the manifest beside the picture.")] = False
    device: Device = "auto"
    dtype: Dtype = "auto"


@app.command()
@with_options(StylizeOptions)
def stylize(options: StylizeOptions) -> None:
    """Put a style on photos."""
    from velatura.app.files import content_files
    from velatura.app.options import parse_regions, parse_strengths, parse_styles
    from velatura.app.sweep import Sweep

    method, settings = parse_settings(options.method, options.setting, options.loss, options.preset)
    named = {"steps": options.steps, "size": options.size}
    settings |= {name: value for name, value in named.items() if value is not None}
    regions = parse_regions(options.region or [], method)
    files = content_files(options.contents)
    styles = parse_styles(options.style or [], regions)
    sweep = Sweep(files, styles, regions, method, settings, parse_strengths(options.strength))
    targets = sweep.destinations(options.out, options.layout)
    sweep.check(targets)
    from velatura.app.studio import Studio

    studio = Studio(options.model, options.device, options.dtype, progress=TerminalProgress())
    for path in sweep.run(studio, targets, options.seed, options.sidecar, console.print):
        typer.echo(path)


@dataclass(frozen=True)
class FitOptions:
    """Arguments and options of ``velatura fit``."""

    picture: Annotated[Path, typer.Argument(help="The style picture.", show_default=False)]
    name: Annotated[str, typer.Option(help="The style's name.", show_default="the file's")] = ""
    method: MethodName = "guided"
    model: Model = "house"
    style_mask: Annotated[
        Path | None, typer.Option(help="White where the picture's style counts.", show_default=False)
    ] = None
    setting: Settings = None
    force: Annotated[bool, typer.Option("--force", help="Replace a style of the same name.")] = False
    device: Device = "auto"
    dtype: Dtype = "auto"


@app.command()
@with_options(FitOptions)
def fit(options: FitOptions) -> None:
    """Fit a style to a picture and keep it under a name."""
    from velatura.app.studio import Studio
    from velatura.errors import StyleError
    from velatura.picture import open_picture

    studio = Studio(options.model, options.device, options.dtype, progress=TerminalProgress())
    picture = open_picture(options.picture)
    name = options.name or picture.name
    studio.library.path(name)
    if studio.library.has(name) and not options.force:
        raise StyleError(f"There is a style '{name}' already: choose another --name, or replace it with --force.")
    method, settings = parse_settings(options.method, options.setting, None)
    fitted = studio.fit(picture, name, method, options.style_mask, **settings)
    studio.library.add(fitted, replace=options.force)
    curve = fitted.card.get("loss")
    if curve:
        reason = "the loss has levelled off" if fitted.card["stopped"] == "plateau" else "all steps are done"
        typer.echo(f"Loss {curve[0][1]:.4g} -> {curve[-1][1]:.4g} in {curve[-1][0]} steps: {reason}.")
    typer.echo(f"The style '{name}' is fitted: use it with --style {name!r}.")


def main() -> None:
    """Run the command line; a VelaturaError is printed as one sentence, with exit code 2."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except VelaturaError as error:
        console.print(str(error), style="red", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("Stopped; nothing was left half-written.")
        sys.exit(130)


if __name__ == "__main__":
    main()
