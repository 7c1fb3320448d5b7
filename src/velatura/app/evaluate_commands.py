"""velatura benchmark: methods and outsiders over the same pictures. velatura evaluate: results that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velatura.app.command import with_options
from velatura.app.options import Device, Dtype, Model
from velatura.app.terminal import say
from velatura.errors import SettingError

if TYPE_CHECKING:
    from velatura.app.report.benchmark_results import Results
    from velatura.evaluation.benchmark.kept import KeptRows
    from velatura.evaluation.benchmark.plan import Pair
    from velatura.evaluation.benchmark.presets import BenchmarkPreset
    from velatura.evaluation.published.means import PublishedMeasure

METHODS, OUTSIDERS = "guided,s2prest", "photo,style,palette,magenta"
SIDE = 256

OnePath = Path | None
Pairs = Annotated[
    int | None,
    typer.Option(min=1, help="So many pairs, spread over all pictures.", show_default="every content in every style"),
]
Side = Annotated[
    int | None,
    typer.Option(
        min=64, max=4096, help="Short side in pixels that is worked on and measured at.", show_default=str(SIDE)
    ),
]
KindsFile = Annotated[
    Path | None,
    typer.Option("--kinds", help="JSON, kind of style -> file names: tables of each kind.", show_default=False),
]

Published = Annotated[
    str,
    typer.Option(
        help="Published metrics too, where their weights are at hand: some of lpips,cfsd,dino,clip,csd.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class BenchmarkOptions:
    """Arguments and options of ``velatura benchmark``."""

    contents: Annotated[OnePath, typer.Argument(help="A folder of photos.", show_default=False)] = None
    styles: Annotated[OnePath, typer.Argument(help="A folder of style pictures.", show_default=False)] = None
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of pictures, rows, tables and the report.")] = (
        Path("benchmark")
    )
    preset: Annotated[
        str,
        typer.Option(
            help="A protocol: public (scikit-image's photos, the project's own styles), pairs, or styleid (20 photos "
            "in 40 styles each, at 512 px).",
            show_default=False,
        ),
    ] = ""
    methods: Annotated[
        str | None,
        typer.Option(
            help="NAME or LABEL=NAME, with commas between; '-' for none.",
            show_default=f"the preset's, or {METHODS}",
        ),
    ] = None
    outsiders: Annotated[
        str | None,
        typer.Option(
            help="Others in the same run: photo, style, palette, magenta, gatys, adain, img2img; '-' for none.",
            show_default=f"the preset's, or {OUTSIDERS}",
        ),
    ] = None
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="LABEL:NAME=VALUE; repeatable.", show_default=False)
    ] = None
    strengths: Annotated[
        str | None, typer.Option(help="Several strengths of each, as 0.2,0.4,0.6.", show_default="each one's own")
    ] = None
    pairs: Pairs = None
    size: Side = None
    kinds: KindsFile = None
    published: Published = ""
    seed: Annotated[int, typer.Option(help="The seed of everything random.")] = 0
    model: Model = "house"
    device: Device = "auto"
    dtype: Dtype = "auto"


@with_options(BenchmarkOptions)
def benchmark(options: BenchmarkOptions) -> None:
    """Every photo in every style by every method, measured: rows, tables, contact sheets, a report as one HTML page.

    Whatever stops it, the same command goes on where it was. The tables are of everything that the folder holds of
    these pairs, whichever commands made it; with --methods - --outsiders - they are written anew, and no picture is
    made. A picture that cannot be made is told and left out, with exit code 1.
    """
    from velatura.app.report.benchmark_results import Heading, Results
    from velatura.evaluation.benchmark.gathering import gathered
    from velatura.evaluation.benchmark.kept import KeptRows
    from velatura.evaluation.benchmark.kinds import read_kinds
    from velatura.evaluation.benchmark.presets import benchmark_preset
    from velatura.evaluation.published.means import published_measures
    from velatura.methods.validation import check_seed

    check_seed(options.seed)
    published = published_measures(options.published)
    preset = benchmark_preset(options.preset) if options.preset else None
    side = options.size or (preset.size if preset else SIDE)
    pairs, unread = _pairs(options, preset, side)
    kinds = read_kinds(options.kinds, pairs) if options.kinds else {}
    kept = KeptRows(options.out)
    methods = _chosen(options.methods, preset.methods if preset else METHODS)
    outsiders = _chosen(options.outsiders, preset.outsiders if preset else OUTSIDERS)
    made = _made(options, (methods, outsiders), kept, pairs, side) if methods or outsiders else None
    entries = kept.entries(side, options.seed)
    if made is not None:
        entries = [entry for entry in entries if entry.told["model"] == made.model]
    found, told = gathered(kept, entries, pairs), made.failures if made else ()
    untold = [sentence for sentence in found.failures if sentence not in told]
    failures = (*unread, *told, *untold)
    for sentence in (*untold, *found.incomplete):
        say(sentence)
    subject = made.subject if made else str(options.out)
    heading = Heading("Benchmark", subject, side, (*failures, *found.incomplete))
    _write(Results(heading, found.rows, pairs, options.out, kinds), options.out)
    _write_published(published, Results(heading, found.rows, pairs, options.out), options.out)
    if failures:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Made:
    """What a command added to a benchmark's folder: by which model and weights, and what could not be made."""

    subject: str
    model: str
    failures: tuple[str, ...]


def _made(options: BenchmarkOptions, named: tuple[str, str], kept: KeptRows, pairs: list[Pair], side: int) -> Made:
    """Make and measure what is not there of the ``named`` methods and outsiders."""
    from velatura.app.benchmarking import Entrants
    from velatura.app.options import parse_strengths
    from velatura.app.studio import Studio
    from velatura.evaluation.benchmark.plan import Plan
    from velatura.evaluation.benchmark.running import run
    from velatura.methods.fast_painting import all_weights

    strengths = [value for value in parse_strengths(options.strengths, "--strengths") if value is not None]
    studio = Studio(options.model, options.device, options.dtype, options.out / "library" / "styles")
    entries = Entrants(*named, options.setting or [], strengths).entries(studio, side)
    plan = Plan(pairs, entries, side, options.seed, all_weights(studio.backbone))
    outcome = run(plan, kept, studio.backbone.device, say)
    if not outcome.rows:
        raise SettingError("No picture could be made: the reasons stand above.")
    return Made(studio.backbone.name, plan.model, tuple(outcome.failures))


@dataclass(frozen=True)
class EvaluateOptions:
    """Arguments and options of ``velatura evaluate``."""

    contents: Annotated[Path, typer.Argument(help="The photos: a folder, or one.", show_default=False)]
    styles: Annotated[Path, typer.Argument(help="The style pictures: a folder, or one.", show_default=False)]
    results: Annotated[Path, typer.Argument(help="The folder of results, any program's.", show_default=False)]
    names: Annotated[
        str,
        typer.Option(
            help="How results are named, from the names of photo and style without endings: {content}, {style}, and "
            "{method} where there are several."
        ),
    ] = "{content}_{style}.png"
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of rows, tables and the report.")] = Path(
        "evaluation"
    )
    size: Side = None
    kinds: KindsFile = None
    published: Published = ""


@with_options(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> None:
    """Measure results that are there, any program's, against their photos and styles: tables and a report.

    What was measured is kept: the same command goes on where it was. Results that are missing are told; a picture that
    cannot be read or measured is told and left out, with exit code 1.
    """
    from velatura.app.files import content_files
    from velatura.app.report.benchmark_results import Heading, Results
    from velatura.evaluation.benchmark.kept import KeptRows
    from velatura.evaluation.benchmark.kinds import read_kinds
    from velatura.evaluation.benchmark.results_folder import NamePattern, find_results, measured_results
    from velatura.evaluation.published.means import published_measures

    published = published_measures(options.published)
    side, pattern = options.size or SIDE, NamePattern(options.names)
    files = content_files([options.contents]), content_files([options.styles])
    pattern.check(len(files[1]))
    pairs, unread = _paired(files, side)
    kinds = read_kinds(options.kinds, pairs) if options.kinds else {}
    found = find_results(options.results, pattern, pairs)
    rows, damaged = measured_results(found, side, KeptRows(options.out), say)
    missing = tuple(f"There is no result of {name}." for name in found.missing)
    if missing:
        say(f"{len(missing)} results are missing, such as {found.missing[0]}: the means are of those that are there.")
    heading = Heading("Evaluation", str(options.results), side, (*unread, *damaged, *missing))
    _write(Results(heading, rows, pairs, Path(), kinds), options.out)
    _write_published(published, Results(heading, rows, pairs, Path()), options.out)
    if unread or damaged:
        raise typer.Exit(1)


def _chosen(asked: str | None, usual: str) -> str:
    return usual if asked is None else "" if asked == "-" else asked


def _pairs(options: BenchmarkOptions, preset: BenchmarkPreset | None, side: int) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs of a benchmark, and a sentence for each file that cannot be read, which is said.

    Raises SettingError without pictures, or where they are not the preset's.
    """
    from velatura.app.files import content_files
    from velatura.evaluation.benchmark.plan import paired, samples
    from velatura.evaluation.benchmark.presets import public_contents, public_styles

    count = options.pairs or (preset.pairs if preset else None)
    if options.preset == "public":
        if options.contents is not None:
            raise SettingError("The preset public has its own pictures: leave the folders out.")
        return paired(samples(public_contents(), side), samples(public_styles(), side), count), ()
    folders = options.contents, options.styles
    if folders == (None, None) and preset is not None and preset.folders:
        folders = preset.folders
    if (folders[0] is None or folders[1] is None) and preset is not None and preset.counts:
        raise SettingError(
            f"The preset {options.preset} brings no pictures: name a folder of {preset.counts[0]} photos and one of "
            f"{preset.counts[1]} styles."
        )
    if folders[0] is None or folders[1] is None:
        raise SettingError("Name a folder of photos and one of styles, or --preset public, which brings its own.")
    files = content_files([folders[0]]), content_files([folders[1]])
    if preset is not None and preset.counts and preset.counts != (len(files[0]), len(files[1])):
        raise SettingError(
            f"The preset {options.preset} is {preset.counts[0]} photos in {preset.counts[1]} styles, not "
            f"{len(files[0])} in {len(files[1])}: name folders of so many pictures, or leave the preset out."
        )
    return _paired(files, side, count)


def _paired(
    files: tuple[Sequence[Path], Sequence[Path]], side: int, count: int | None = None
) -> tuple[list[Pair], tuple[str, ...]]:
    """Pairs of the contents and styles in files that can be read, and a sentence for each other, which is said."""
    from velatura.evaluation.benchmark.plan import paired, readable_samples

    (contents, first), (styles, second) = (readable_samples(each, side) for each in files)
    unread = tuple(f"{sentence} It is left out." for sentence in (*first, *second))
    for sentence in unread:
        say(sentence)
    return paired(contents, styles, count), unread


def _write(results: Results, out: Path) -> None:
    from velatura.app.report.benchmark_files import write_results
    from velatura.evaluation.benchmark.tables import PARQUET

    written = write_results(results, out)
    for file in written:
        typer.echo(file)
    if PARQUET not in [file.name for file in written]:
        say("There is no Parquet file, because pyarrow is not installed: pip install 'velatura[report]' brings it.")


def _write_published(measures: Sequence[PublishedMeasure], results: Results, out: Path) -> None:
    """Write the means of published metrics, where some are asked for. Raises ModelError where weights are missing."""
    from velatura.evaluation.published.means import published_means, write_published

    if measures:
        means = published_means(measures, results.rows, results.pairs, results.folder)
        typer.echo(write_published(measures, means, out))


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("benchmark")(benchmark)
    app.command("evaluate")(evaluate)
