"""velatura mask: cut something out of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mask(
    content: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    text: Annotated[list[str] | None, typer.Option(help="What it is called.", show_default=False)] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="x,y of a point on it; repeat for more points.", show_default=False)
    ] = None,
    box: Annotated[list[str] | None, typer.Option(help="x0,y0,x1,y1 around it.", show_default=False)] = None,
    polygon: Annotated[list[str] | None, typer.Option(help="x,y;x,y;x,y of its corners.", show_default=False)] = None,
    segment: Annotated[
        list[int] | None, typer.Option(help="Its number in the picture of --everything.", show_default=False)
    ] = None,
    picture: Annotated[list[Path] | None, typer.Option(help="A mask picture.", show_default=False)] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave this out: box:…, point:…, text:… or a mask.", show_default=False)
    ] = None,
    grow: Annotated[int, typer.Option(help="Grow by pixels; negative shrinks.")] = 0,
    feather: Annotated[float, typer.Option(help="Soften the edge over pixels.")] = 0.0,
    invert: Annotated[bool, typer.Option("--invert", help="Everything but it.")] = False,
    cutter: Annotated[
        str, typer.Option(help="sam2 or fastsam, for boxes and points; fastsam also for text.", show_default="neither")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--everything", help="Write a picture of all segments and their numbers instead.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The mask to write, white where it is.")] = Path("mask.png"),
) -> None:
    """Cut something out of a photo: what the options name together, as a mask."""
    from velatura.app.files import refuse_contents
    from velatura.errors import SettingError
    from velatura.picture import open_picture, save_picture
    from velatura.picture.writing import picture_format
    from velatura.regions import parse_query
    from velatura.regions.everything import everything_picture
    from velatura.regions.masks import feathered, grown, image_of_mask, united
    from velatura.regions.masks import without as left_out

    by = f"{cutter}:" if cutter else ""
    queries = [f"{by}text:{entry}" for entry in text or []] + [f"{by}box:{entry}" for entry in box or []]
    queries += [f"{by}point:{';'.join(point)}"] if point else []
    queries += [f"polygon:{corners}" for corners in polygon or []]
    queries += [f"segment:{','.join(map(str, segment))}"] if segment else []
    queries += [str(path) for path in picture or []]
    if bool(queries) == everything:
        raise SettingError(
            "Say what to cut out with --point x,y, --box x0,y0,x1,y1, --text words, --polygon, --segment "
            "number or --picture mask.png, or see what there is with --everything."
        )
    picture_format(out)
    refuse_contents([out], [content])
    opened = open_picture(content)
    if everything:
        save_picture(everything_picture(opened.image), out, {})
        typer.echo(out)
        return
    found = united([parse_query(query)(opened) for query in queries])
    for query in without or []:
        found = left_out(found, parse_query(query)(opened))
    found = feathered(grown(found, grow), feather)
    save_picture(image_of_mask(1 - found if invert else found), out, {"mask": queries, "without": without or []})
    typer.echo(out)
