"""Running a benchmark: what is on disk is not done again, and what is killed goes on."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch

from velatura.evaluation.benchmark.failing import reason
from velatura.evaluation.benchmark.gathering import measured
from velatura.evaluation.benchmark.kept import KeptEntry, KeptRows, Painted, Row
from velatura.evaluation.benchmark.peak_memory import PeakMemory
from velatura.evaluation.benchmark.plan import Entry, OpenPair, Plan, described
from velatura.evaluation.pixels import pixels_of
from velatura.evaluation.stylizer import stylized
from velatura.methods.provenance import versions
from velatura.picture import pixels_to_image

Say = Callable[[str], None]


@dataclass
class TimeLeft:
    """An estimate of the seconds that are left: by what the pictures of each entry have taken so far."""

    open: dict[str, int]
    taken: dict[str, list[float]] = field(default_factory=dict)

    def done(self, entry: str, seconds: float) -> None:
        """Count a picture, and what it took."""
        self.open[entry] -= 1
        self.taken.setdefault(entry, []).append(seconds)

    @property
    def seconds(self) -> float | None:
        """What is left; None before every open entry has taken its time once."""
        waiting = {entry: count for entry, count in self.open.items() if count}
        if any(entry not in self.taken for entry in waiting):
            return None
        return sum(count * fmean(self.taken[entry]) for entry, count in waiting.items())


@dataclass(frozen=True)
class Outcome:
    """The rows of a plan in its order, and a sentence for each picture that could not be made."""

    rows: list[Row]
    failures: list[str]


def run(plan: Plan, kept: KeptRows, device: torch.device, say: Say) -> Outcome:
    """Make and measure whatever of a plan is not on disk; every picture and every row is written at once, whole.

    A picture that cannot be made is told and left out. Raises SettingError where the folder holds results of other
    settings, before anything is made.
    """
    for entry in plan.entries:
        kept.claim(entry, plan)
    left = TimeLeft({entry.name: len(plan.pairs) for entry in plan.entries})
    rows: list[Row] = []
    failures: list[str] = []
    for number, pair in enumerate(plan.pairs):
        opened = pair.opened()
        for entry in plan.entries:
            started = time.perf_counter()
            row = kept.finished(entry.name, pair)
            try:
                rows.append(_made(plan, entry, opened, kept, device) if row is None else row)
            except Exception as error:  # whatever it is, the other pictures are made
                failures.append(f"{entry.name}, {pair.name}: {reason(error)}")
                say(failures[-1])
            left.done(entry.name, time.perf_counter() - started if row is None else row["seconds"])
        say(_progress(number + 1, len(plan.pairs), pair.name, left.seconds))
    return Outcome(rows, failures)


def _made(plan: Plan, entry: Entry, opened: OpenPair, kept: KeptRows, device: torch.device) -> Row:
    """The row of a pair that has none: its picture is made, unless it is there, and measured."""
    spent: Mapping[str, Any] | None = kept.spent(entry.name, opened.pair)
    if spent is None:
        painted = _painted(plan, entry, opened, device)
        kept.keep_picture(entry.name, opened.pair, painted)
        spent = painted.spent
    return measured(kept, KeptEntry.of(entry, plan), opened, spent)


def _painted(plan: Plan, entry: Entry, opened: OpenPair, device: torch.device) -> Painted:
    """A pair's picture, and what it cost: the fit of the style apart, which other contents share.

    Raises ValueError for a result that is no picture, or not finite.
    """
    stylizer, content, style = entry.stylizer, opened.content, opened.style
    started = time.perf_counter()
    stylizer.prepare(style)
    fitted = time.perf_counter()
    evaluations, memory = stylizer.evaluations, PeakMemory(device)
    result = stylized(stylizer, content, style, plan.seed)
    finished = time.perf_counter()
    height, width = content.shape[2:]
    spent = {
        "seconds": finished - fitted,
        "fit_seconds": fitted - started,
        "evaluations": stylizer.evaluations - evaluations,
        "peak_memory_mib": memory.mib,
        "device": str(device),
        "versions": described({"python": platform.python_version(), **versions()}),
    }
    return Painted(pixels_to_image(pixels_of(result.pixels), (width, height)), result.manifest, spent)


def _progress(done: int, total: int, name: str, seconds: float | None) -> str:
    left = "" if seconds is None or done == total else f", {duration(seconds)} left"
    return f"{done} of {total} pairs: {name}{left}"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(50), duration(3700)
    ('50 s', '1 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
