"""Batches: processes and shared passes against a plain loop, what a row costs on Ray, and a run of 100 GPUs on paper.

    python benchmarks/batches.py photos/ paintings/ --out runs/batches

prints the tables of docs/results.md, "Batches". Ratios are pictures a second over those of a plain loop; nothing else
should be running.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from PIL import ImageOps
from PIL.Image import Transpose

from velatura.batch.local import LocalEngine
from velatura.batch.machine import threads_of_children
from velatura.batch.on_ray import RayEngine
from velatura.batch.place import Place
from velatura.batch.plan import Cut, write_plan
from velatura.batch.plan_files import pictures_at
from velatura.batch.results import Results
from velatura.batch.row import Row
from velatura.batch.running import Engine, Tally, run_batch
from velatura.batch.work import Job, Made, Prepared
from velatura.picture import open_picture

METHOD, SETTINGS = "s2prest", {"size": 256, "steps": 10}
PICTURE_BYTES = {"content in": 2.0e6, "result out": 1.5e6, "table row": 400.0}  # of a photo of 12 MP, a PNG of 1 MP


@dataclass(frozen=True)
class Case:
    """One way to make the same pictures."""

    name: str
    workers: int
    batch: int


def square_photos(photos: Sequence[str], count: int, side: int, folder: Path) -> list[str]:
    """So many different pictures of one size: the photos' middles, then mirrored, then upside down."""
    turns = (None, Transpose.FLIP_LEFT_RIGHT, Transpose.FLIP_TOP_BOTTOM, Transpose.ROTATE_180)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(min(count, len(turns) * len(photos))):
        image = ImageOps.fit(open_picture(photos[number % len(photos)]).image, (side, side))
        turn = turns[number // len(photos)]
        made.append(str(folder / f"{number}.png"))
        (image if turn is None else image.transpose(turn)).save(made[-1])
    return made


def loop(contents: Sequence[str], style: str, out: str) -> list[float]:
    """The times at which a loop over ``Studio.stylize`` has made each picture."""
    from velatura import Studio

    studio, times = Studio("house"), []
    for number, content in enumerate(contents):
        studio.stylize(content, style, method=METHOD, **SETTINGS).save(f"{out}/{number}.png", force=True)
        times.append(time.perf_counter())
    return times


def plain_loop(contents: Sequence[str], style: str, out: Path) -> float:
    """Seconds a picture of a loop in one process with one thread."""
    out.mkdir(parents=True, exist_ok=True)
    with threads_of_children(1), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return second_half(process.submit(loop, contents, style, str(out)).result())


def second_half(times: Sequence[float]) -> float:
    """Seconds a result while all workers were at work: in the second half of them."""
    first = len(times) // 2 - 1
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def batch_seconds(case: Case, contents: Sequence[str], style: str, out: Path) -> float:
    """Seconds a picture of a batch."""
    from velatura.app.batch_runner import StudioRunners

    place = Place(str(out))
    settings = json.dumps(SETTINGS)
    rows = [Row(number, content, style, METHOD, settings, 0, style) for number, content in enumerate(contents)]
    plan = write_plan(rows, place, Cut(share=case.batch))
    job = Job(StudioRunners("house", "cpu", "auto", place, batch=case.batch), Results(place, plan.name))
    times: list[float] = []
    run_batch(plan, job, LocalEngine(case.workers, nice=0), lambda tally: times.append(time.perf_counter()))
    return second_half(times)


class Nothing:
    """A runner that makes nothing, to time what a row costs beside its picture."""

    ending = ".txt"

    def __call__(self) -> Nothing:
        return self

    def states(self) -> Callable[[Row], str]:
        """Nothing is known of any row, so that each run does all of its work."""
        return lambda row: ""

    def prepare(self, row: Row, content: bytes) -> Prepared:
        """The row's number is all that there is of it."""
        return Prepared(row, b"", f"{row.number:064d}", row.number)

    def most_together(self, prepared: Prepared) -> int:
        """One."""
        return 1

    def make(self, together: Sequence[Prepared]) -> list[Made]:
        """A byte."""
        return [Made(b".")] * len(together)

    def sentence(self, error: Exception) -> str:
        """As it is."""
        return str(error)


def overhead(engine: Engine, count: int, share: int, out: Path) -> tuple[float, float]:
    """Seconds a row, and the driver's core-seconds of them, of an engine whose rows cost nothing, once its workers have
    started.
    """
    content = out / "content"
    out.mkdir(parents=True, exist_ok=True)
    content.write_bytes(b"x")
    rows = [Row(number, str(content), "s", "m", "{}", number, f"{number // share}") for number in range(count)]
    place = Place(str(out / engine.name))
    plan = write_plan(rows, place, Cut(share=share))
    times: list[float] = []
    core: list[float] = []

    def watch(_: Tally) -> None:
        times.append(time.perf_counter())
        core.append(time.process_time())

    run_batch(plan, Job(Nothing(), Results(place, plan.name)), engine, watch)
    return second_half(times), second_half(core)


def paper(seconds: float, driver_row: float, store: float = 12.5e9) -> Iterator[str]:
    """The model of a large run: GPUs that take ``seconds`` a picture, a driver that takes ``driver_row`` seconds a
    row, and a store of so many bytes a second; each is a ceiling, and the lowest one counts.
    """
    moved = sum(PICTURE_BYTES.values())
    yield f"| GPUs | s a picture | pictures an hour | MB/s at the store | busy driver | ends at |\n{'|---' * 6}|"
    for gpus in (1, 10, 100, 1000, 10_000):
        ceilings = {"GPUs": gpus / seconds, "driver": 1 / driver_row, "store": store / moved}
        limit = min(ceilings, key=lambda name: ceilings[name])
        rate = ceilings[limit]
        yield (
            f"| {gpus} | {seconds:g} | {rate * 3600:,.0f} | {rate * moved / 1e6:,.0f} | {rate * driver_row:.1%} | "
            f"{limit} |"
        )


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contents")
    parser.add_argument("styles")
    parser.add_argument("--out", type=Path, default=Path("runs/batches"))
    parser.add_argument("--pictures", type=int, default=32, help="pictures of each case")
    parser.add_argument("--rows", type=int, default=2000, help="rows that cost nothing, of which an engine is timed")
    parser.add_argument("--gpu-seconds", type=float, default=2.0, help="a GPU's seconds a picture, for the model")
    parser.add_argument("--only", choices=["house", "overhead", "paper"], help="one part")
    parser.add_argument("--driver-row", type=float, default=0.0, help="seconds a row, for the model without measuring")
    asked = parser.parse_args()
    out = asked.out / time.strftime("%Y%m%d-%H%M%S")  # results that are there would not be made
    if asked.only in (None, "house"):
        house(asked, out)
    measured = asked.driver_row
    if asked.only in (None, "overhead"):
        measured = overheads(asked, out)
    if asked.only in (None, "paper") and measured:
        print("\n".join(paper(asked.gpu_seconds, measured)))


def house(asked: argparse.Namespace, out: Path) -> None:
    """Processes and batches on house against a plain loop."""
    contents = square_photos(pictures_at([asked.contents]), asked.pictures, SETTINGS["size"], out / "photos")
    style = pictures_at([asked.styles])[0]
    cases = [Case("1 process", 1, 1), Case("2 processes", 2, 1)]
    cases += [Case(f"1 process, batch {batch}", 1, batch) for batch in (2, 4, 8)] + [Case("2, batch 4", 2, 4)]
    seconds = plain_loop(contents, style, out / "loop")
    print("| way | s a picture | ratio to a plain loop |\n|---|---|---|")
    print(f"| plain loop | {seconds:.2f} | 1 |", flush=True)
    for number, case in enumerate(cases):
        taken = batch_seconds(case, contents, style, out / f"case{number}")
        print(f"| {case.name} | {taken:.2f} | {seconds / taken:.2f} |", flush=True)


def overheads(asked: argparse.Namespace, out: Path) -> float:
    """What a row costs beside its picture in each engine; returned are the driver's core-seconds on Ray, the most."""
    found: dict[str, tuple[float, float]] = {}
    for share in (1, 16):
        for engine in (LocalEngine(2, nice=0), RayEngine(workers=2)):
            found[f"{engine.name}, shares of {share}"] = overhead(engine, asked.rows, share, out / f"rows{share}")
    print("| engine | ms a row | the driver's core-ms of them |\n|---|---|---|")
    for name, (wall, core) in found.items():
        print(f"| {name} | {wall * 1000:.2f} | {core * 1000:.2f} |")
    return found["ray, shares of 1"][1]


if __name__ == "__main__":
    main()
