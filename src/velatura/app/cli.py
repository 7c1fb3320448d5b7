"""The command line. Torch is imported by the commands that need it, so that help comes at once."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from velatura.app import mask_command, models_commands, styles_commands, train_commands
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


@app.command()
def stylize(
    contents: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)],
    style: Annotated[
        list[str] | None,
        typer.Option(
            help="A style picture, a fitted style's name, or text:words for guided with CLIP; NAME=WEIGHT, repeated, "
            "mixes several.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="WHERE=STYLE[@FROM-TO] for diffstyler and guided, repeatable, later over earlier; WHERE is a mask "
            "picture, box:x0,y0,x1,y1, point:x,y;x,y, polygon:x,y;x,y;x,y, text:words or segment:number.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A picture file for one result, a folder for several.", show_default="stylized.png, results"),
    ] = None,
    method: MethodName = "guided",
    preset: Preset = "",
    model: Model = "house",
    size: Annotated[
        int, typer.Option(help="Working length of the short side in pixels; 0: the photo's within limits.")
    ] = 0,
    strength: Annotated[
        str | None, typer.Option(help="0 (the photo itself) to 1; several: 0.2,0.4.", show_default="method's")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default="method's")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same picture.")] = 0,
    loss: LossWeights = None,
    setting: Settings = None,
    layout: Annotated[
        str,
        typer.Option(
            help="flat, or paper: OUT/STYLE/wt_STRENGTH/{stylized,canny}/CONTENT.png.",
            show_default="paper for s2prest and inst without --out",
        ),
    ] = "",
    sidecar: Annotated[bool, typer.Option("--sidecar", help="Also write the manifest beside the picture.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Put a style on photos."""
    from velatura.app.files import content_files
    from velatura.app.options import parse_regions, parse_strengths, parse_styles
    from velatura.app.sweep import Sweep

    named = {"steps": steps, "size": size}
    settings = parse_settings(method, setting, loss, preset) | {k: v for k, v in named.items() if v is not None}
    where = parse_regions(region or [], method)
    files = content_files(contents)
    sweep = Sweep(files, parse_styles(style or [], where), where, method, settings, parse_strengths(strength))
    targets = sweep.destinations(out, layout)
    sweep.check(targets)
    from velatura.app.studio import Studio

    studio = Studio(model, device, dtype, progress=TerminalProgress())
    for path in sweep.run(studio, targets, seed, sidecar, console.print):
        typer.echo(path)


@app.command()
def fit(
    picture: Annotated[Path, typer.Argument(help="The style picture.", show_default=False)],
    name: Annotated[str, typer.Option(help="The style's name.", show_default="the file's")] = "",
    method: MethodName = "guided",
    model: Model = "house",
    style_mask: Annotated[
        Path | None, typer.Option(help="White where the picture's style counts.", show_default=False)
    ] = None,
    setting: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a style of the same name.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Fit a style to a picture and keep it under a name."""
    from velatura.app.studio import Studio
    from velatura.errors import StyleError
    from velatura.picture import open_picture

    studio = Studio(model, device, dtype, progress=TerminalProgress())
    opened = open_picture(picture)
    chosen = name or opened.name
    studio.library.path(chosen)
    if studio.library.has(chosen) and not force:
        raise StyleError(f"There is a style '{chosen}' already: choose another --name, or replace it with --force.")
    fitted = studio.fit(opened, chosen, method, style_mask, **parse_settings(method, setting, None))
    studio.library.add(fitted, replace=force)
    curve = fitted.card.get("loss")
    if curve:
        said = "the loss has levelled off" if fitted.card["stopped"] == "plateau" else "all steps are done"
        typer.echo(f"Loss {curve[0][1]:.4g} -> {curve[-1][1]:.4g} in {curve[-1][0]} steps: {said}.")
    typer.echo(f"The style '{chosen}' is fitted: use it with --style {chosen!r}.")


def main() -> None:
    """Run the command line; what a user can put right is one sentence and exit code 2."""
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
