"""velatura mask: write a mask of something in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from velatura.app.command import with_options

MOST_GROWTH, MOST_FEATHER = 256, 1000  # pixels


@dataclass(frozen=True)
class MaskOptions:
    """Arguments and options of ``velatura mask``."""

    content: Annotated[Path, typer.Argument(help="The photo to cut something out of.", show_default=False)]
    text: Annotated[
        list[str] | None,
        typer.Option(help="Words for the thing, as 'the dog'; needs a downloaded model.", show_default=False),
    ] = None
    point: Annotated[
        list[str] | None, typer.Option(help="A point on the thing, x,y in pixels; repeatable.", show_default=False)
    ] = None
    not_point: Annotated[
        list[str] | None, typer.Option(help="A point beside the thing, x,y in pixels; repeatable.", show_default=False)
    ] = None
    box: Annotated[
        list[str] | None,
        typer.Option(help="A box around the thing: left, top, right, bottom in pixels.", show_default=False),
    ] = None
    polygon: Annotated[
        list[str] | None,
        typer.Option(help="The corners of an area, x,y;x,y;x,y in pixels; taken as it is.", show_default=False),
    ] = None
    segment: Annotated[
        list[int] | None,
        typer.Option(
            help="A segment's number in the picture that --everything writes; repeatable.", show_default=False
        ),
    ] = None
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="A mask picture, white where the thing is; repeatable.", show_default=False),
    ] = None
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Something to leave out: box:…, point:…, text:… or a mask picture; repeatable.", show_default=False
        ),
    ] = None
    grow: Annotated[int, typer.Option(help="Make the mask larger by so many pixels all around; negative: smaller.")] = 0
    feather: Annotated[float, typer.Option(help="Soften the mask's edge over so many pixels.")] = 0.0
    invert: Annotated[bool, typer.Option("--invert", help="Take everything but the thing.")] = False
    cutter: Annotated[
        str, typer.Option(help="sam2 or fastsam, for boxes and points; fastsam also for text.", show_default="neither")
    ] = ""
    everything: Annotated[
        bool, typer.Option("--everything", help="Write a picture of all segments and their numbers instead.")
    ] = False
    out: Annotated[Path, typer.Option("--out", "-o", help="The mask to write, white where it is.")] = Path("mask.png")
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False

    def queries(self) -> list[str]:
        """The options as texts for ``parse_query``."""
        by = f"{self.cutter}:" if self.cutter else ""
        queries = [f"{by}text:{words}" for words in self.text or []] + [f"{by}box:{box}" for box in self.box or []]
        points = [*(self.point or []), *(f"not:{point}" for point in self.not_point or [])]
        queries += [f"{by}point:{';'.join(points)}"] if points else []
        queries += [f"polygon:{corners}" for corners in self.polygon or []]
        queries += [f"segment:{','.join(map(str, self.segment))}"] if self.segment else []
        return queries + [str(path) for path in self.picture or []]


@with_options(MaskOptions)
def mask(options: MaskOptions) -> None:
    """Cut something out of a photo: the union of what the options name, as a mask."""
    from velatura.app.targets import files_among, one_file
    from velatura.errors import SettingError
    from velatura.methods.validation import Range, check_value
    from velatura.picture import open_picture, save_picture
    from velatura.picture.writing import picture_format
    from velatura.regions import parse_query
    from velatura.regions.masks import feathered, grown, image_of_mask, united, without
    from velatura.regions.segments import everything_picture

    check_value("--grow", options.grow, int, Range(-MOST_GROWTH, MOST_GROWTH))
    check_value("--feather", options.feather, float, Range(0, MOST_FEATHER))
    queries = options.queries()
    if bool(queries) == options.everything:
        raise SettingError(
            "Say what to cut out with --point x,y, --box x0,y0,x1,y1, --text words, --polygon, --segment "
            "number or --picture mask.png, or see what there is with --everything."
        )
    picture_format(options.out)
    named = files_among([*(options.picture or []), *(options.without or [])])
    out = one_file(options.out, [options.content, *named], options.force)
    opened = open_picture(options.content)
    if options.everything:
        save_picture(everything_picture(opened.image), out, {})
        typer.echo(out)
        return
    found = united([parse_query(query)(opened) for query in queries])
    for query in options.without or []:
        found = without(found, parse_query(query)(opened))
    found = feathered(grown(found, options.grow), options.feather)
    manifest = {"mask": queries, "without": options.without or []}
    save_picture(image_of_mask(1 - found if options.invert else found), out, manifest)
    typer.echo(out)
