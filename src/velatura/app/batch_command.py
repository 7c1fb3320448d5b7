"""velatura batch: a plan of many pictures, on the processes of one machine or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.app.options import (
    Colours,
    Device,
    Dtype,
    LossWeights,
    MethodName,
    Model,
    Preset,
    Settings,
    Size,
    StyleScale,
    parse_settings,
    parse_size,
)
from velatura.app.photo_progress import spoken
from velatura.app.terminal import console, say
from velatura.errors import PictureError, SettingError, StoppedError, StyleError
from velatura.registry import check_name

if TYPE_CHECKING:
    from velatura.app.batch_rows import Asked
    from velatura.batch.row import Row
    from velatura.batch.running import Engine, Tally

ENGINES = ("local", "ray")
EVERY = 30.0  # seconds between two lines of progress where nobody watches a terminal
STOPPED = 143  # what a shell takes for an end by SIGTERM


@dataclass(frozen=True)
class BatchOptions:
    """Arguments and options of ``velatura batch``."""

    plan: Annotated[
        str | None,
        typer.Argument(
            help="A CSV, JSONL or Parquet file, by path or URL, with a row for each result: content, style and, where "
            "it differs from the options, method, seed and any setting of the method.",
            show_default=False,
        ),
    ] = None
    contents: Annotated[
        list[str] | None,
        typer.Option(help="Instead of a plan: photos, folders or patterns as s3://bucket/*.jpg; repeatable."),
    ] = None
    styles: Annotated[
        list[str] | None,
        typer.Option(help="With --contents: style pictures, folders, patterns, names or text:words; repeatable."),
    ] = None
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", help="A folder or a URL; one that ends in .parquet becomes a data set with the pictures."
        ),
    ] = "batch"
    engine: Annotated[str, typer.Option(help="local (processes of this machine) or ray.")] = "local"
    address: Annotated[str, typer.Option(help="The Ray cluster's address.", show_default="one started here")] = ""
    workers: Annotated[
        int, typer.Option(help="Workers at the most, each with a model; 0: as many as cores and memory are enough for.")
    ] = 0
    threads: Annotated[int, typer.Option(help="Threads of each worker; they decide about a result's last bits.")] = 1
    gpus: Annotated[float, typer.Option(help="GPUs of each worker on Ray, as 1 or 0.25.")] = 0.0
    nice: Annotated[int, typer.Option(help="The workers' nice level: 19 leaves others nearly everything.")] = 5
    retries: Annotated[int, typer.Option(help="How often a row whose worker died is tried again.")] = 2
    batch: Annotated[
        int, typer.Option(help="Contents of one size that share a pass, at most 256; 0: the method's own number.")
    ] = 0
    together: Annotated[
        str, typer.Option(help="Rows that are made after each other: of one content, of one style, or auto.")
    ] = "auto"
    window: Annotated[int, typer.Option(help="Rows that are sorted and kept in memory at once.")] = 256
    format: Annotated[str, typer.Option("--format", help="The results' format: png, jpg, webp, tif or avif.")] = "png"
    method: MethodName = "guided"
    preset: Preset = ""
    model: Model = "house"
    size: Size = None
    strength: Annotated[float | None, typer.Option(help="How far from the photo.", show_default="method's")] = None
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default="method's")] = None
    seed: Annotated[int, typer.Option(help="The seed of everything random, where a row has no other.")] = 0
    loss: LossWeights = None
    setting: Settings = None
    colours: Colours = None
    style_scale: StyleScale = None
    device: Device = "auto"
    dtype: Dtype = "auto"


def batch(options: BatchOptions) -> None:
    """Make many pictures: every content in every style, or the rows of a plan.

    The same command goes on where it was stopped, and makes only what is not there. The exit code is 1 if some rows
    failed, 2 if all did.
    """
    check_name(options.method)
    if options.engine not in ENGINES:
        raise SettingError(f"--engine must be {' or '.join(ENGINES)}, not '{options.engine}'.")
    try:
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError:
        raise SettingError("velatura batch needs pyarrow and fsspec: install velatura[batch].") from None
    from velatura.app.batch_runner import StudioRunners
    from velatura.batch.place import Place, absolute
    from velatura.batch.plan import Cut, write_plan
    from velatura.batch.results import Results
    from velatura.batch.running import run_batch
    from velatura.batch.work import Job

    place = Place(absolute(options.out))
    runners = StudioRunners(options.model, options.device, options.dtype, place, f".{options.format}", options.batch)
    engine = _engine(options)
    plan = write_plan(_rows(options), place, Cut(window=options.window), runners.decides)
    try:
        with _shown() as watch:
            tally = run_batch(plan, Job(runners, Results(place, plan.name)), engine, watch)
    except StoppedError as error:
        say(str(error))
        raise typer.Exit(STOPPED) from None
    _tell(tally)
    typer.echo(place.url)
    if tally.states["failed"]:
        raise typer.Exit(1 if tally.done > tally.states["failed"] else 2)


def _engine(options: BatchOptions) -> Engine:
    workers, threads, retries = options.workers, options.threads, options.retries
    if options.engine == "ray":
        from velatura.batch.on_ray import RayEngine

        return RayEngine(options.address, workers, threads, options.gpus, retries, options.nice, say)
    if options.address or options.gpus:
        raise SettingError("--address and --gpus are for --engine ray.")
    from velatura.batch.local import LocalEngine
    from velatura.models.loading.devices import choose_device

    if not workers and choose_device(options.device).type != "cpu":
        workers = 1  # the memory that is measured is not a GPU's
    return LocalEngine(workers, threads, retries, options.nice, say)


def _rows(options: BatchOptions) -> Iterator[Row]:
    """The plan's rows, or every content in every style. Raises SettingError for both or neither."""
    from velatura.batch.plan_files import crossed, pictures_at, records_of

    asked = _asked(options)
    if options.plan is not None and not options.contents and not options.styles:
        return asked.rows(records_of(options.plan), options.plan)
    if options.plan is not None or not options.contents or not options.styles:
        raise SettingError("Give a plan, or --contents and --styles.")
    styles = [found for style in options.styles for found in _styles_at(style, asked)]
    styles_first = not asked.by_content(asked.method)
    return asked.rows(crossed(pictures_at(options.contents), styles, styles_first=styles_first), "the plan")


def _styles_at(style: str, asked: Asked) -> list[str]:
    """A style in words or of the library as it is; the pictures of a folder or pattern. Raises StyleError."""
    from velatura.app.studio import TEXT_STYLE
    from velatura.batch.plan_files import pictures_at

    if style.startswith(TEXT_STYLE) or asked.library.has(style):
        return [style]
    try:
        return pictures_at([style])
    except PictureError as error:
        raise StyleError(f"{str(error).rstrip('.')}, a fitted style's name, or text:words.") from None


def _asked(options: BatchOptions) -> Asked:
    """What holds for all rows."""
    from velatura.app.batch_rows import Asked
    from velatura.app.home import styles_folder
    from velatura.style import StyleLibrary

    method, settings = parse_settings(options.method, options.setting, options.loss, options.preset)
    names = ("steps", "strength", "colours", "style_scale")
    named: dict[str, Any] = {name: getattr(options, name) for name in names}
    settings |= parse_size(options.size) | {name: value for name, value in named.items() if value is not None}
    return Asked(method, settings, StyleLibrary(styles_folder()), options.seed, options.together)


@contextmanager
def _shown() -> Iterator[Callable[[Tally], None]]:
    """Progress in a terminal's last line; elsewhere a line now and then."""
    if console.is_terminal:
        with console.status("Starting …") as status:
            yield lambda tally: status.update(progress_line(tally))
        return
    told = time.monotonic()

    def watch(tally: Tally) -> None:
        nonlocal told
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            say(progress_line(tally))

    yield watch


def progress_line(tally: Tally) -> str:
    """How far a batch is, and how long the rest takes."""
    failed = f", {tally.states['failed']} failed" if tally.states["failed"] else ""
    left = "" if tally.seconds_left is None else f", {spoken(tally.seconds_left)} left"
    return f"{tally.done} of {tally.rows} rows{failed}{left}"


def _tell(tally: Tally) -> None:
    """The final report in sentences."""
    states = tally.states
    kept = f", {states['kept']} were there already" if states["kept"] else ""
    say(f"{states['made']} of {tally.rows} results were made in {spoken(tally.elapsed)}{kept}.")
    for reason, count in tally.reasons.most_common(10):
        say(f"{count} failed: {reason}", style="red")
