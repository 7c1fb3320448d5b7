"""velatura reproduce: a picture made again from its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.app.options import ReportFile
from velatura.app.terminal import TerminalProgress, say

if TYPE_CHECKING:
    from velatura.app.studio import Studio


@dataclass(frozen=True)
class ReproduceOptions:
    """Arguments and options of ``velatura reproduce``."""

    picture: Annotated[Path, typer.Argument(help="A picture that this program made.", show_default=False)]
    content: Annotated[
        Path | None, typer.Option(help="The content, where it is not found by its hash.", show_default=False)
    ] = None
    style: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            "-s",
            help="The style's picture, its file or its name in the library, where it is not found; repeatable.",
            show_default=False,
        ),
    ] = None
    inputs: Annotated[
        list[Path] | None,
        typer.Option(help="A folder to look in for content, style pictures and masks; repeatable.", show_default=False),
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write.", show_default="PICTURE-again in this folder")
    ] = None
    model: Annotated[str, typer.Option(help="Another place of the model.", show_default="the manifest's")] = ""
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", show_default="as then")] = ""
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.", show_default="as then")] = ""
    report: ReportFile = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False


def reproduce(options: ReproduceOptions) -> None:
    """Make a picture again from the manifest in it, and say whether it is the same.

    Content, style pictures and masks are found by their hashes: under the names they had, beside the picture, in this
    folder, then in --inputs. The exit code is 0 for a picture of the same bits, 1 for any other.
    """
    from velatura.app.input_search import InputSearch
    from velatura.app.recorded import Recorded
    from velatura.app.reproducing import Reproduction, pixel_difference
    from velatura.app.targets import Inputs, one_file, page_file
    from velatura.picture import save_picture
    from velatura.picture.writing import picture_format

    recorded = Recorded.of(options.picture)
    search = InputSearch([options.picture.parent, Path()], options.inputs or [])
    again = Reproduction(recorded, _studio(options, recorded.manifest), search, options.content, options.style or [])
    inputs = again.files()
    out = options.out or Path(f"{options.picture.stem}-again{options.picture.suffix}")
    picture_format(out)
    out = one_file(out, inputs, options.force)
    report = page_file(options.report, Inputs([*inputs, out]), options.force) if options.report else None
    result = again.make()
    save_picture(result.picture, out, result.manifest, result.alpha)
    typer.echo(out)
    if report is not None:
        from velatura.app.report.entries import write_report
        from velatura.app.report.gathering import Gathering
        from velatura.app.report.inversion import inversion_score

        gathering = Gathering(again.studio.library, search, partial(inversion_score, again.studio))
        write_report(report, [gathering.entry(Recorded(out, result.manifest), result, again.opened)])
        typer.echo(report)
    apart = pixel_difference(result, options.picture)
    for sentence in _told(apart, again.notes):
        say(sentence)
    if apart is None or apart[1]:
        raise typer.Exit(1)


def _studio(options: ReproduceOptions, manifest: Mapping[str, Any]) -> Studio:
    """A Studio with the result's model, on the kind of device and in the number format that it was made with."""
    from velatura.app.repeating import DTYPES
    from velatura.app.studio import Studio
    from velatura.cache import Cache

    then = manifest.get("computed_on") or {}
    device = "cpu" if then.get("device") == "cpu" else "auto"
    dtype = DTYPES.get(str(then.get("dtype")), "auto")
    studio = Studio(
        options.model or str(manifest["model"]),
        options.device or device,
        options.dtype or dtype,
        progress=TerminalProgress(),
    )
    studio.cache = Cache()  # what other runs kept may come from other passes of the model
    return studio


def _told(apart: tuple[float, int] | None, notes: Sequence[str]) -> Iterator[str]:
    """Sentences on whether the picture is the same, and why it may not be."""
    if apart is None:
        yield "The picture has another size than the one in the file, which was changed since."
    elif not apart[1]:
        yield "The picture is the same, bit for bit."
    else:
        yield f"The picture differs, by {apart[0]:.3g} of 255 on average and {apart[1]} at most."
    yield from notes
    if (apart is None or apart[1]) and not notes:
        yield "Versions, model, machine and inputs are the same: the file was changed since, or the device rounds anew."
