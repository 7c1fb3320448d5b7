"""A batch from its plan to its table: an engine's outcomes counted, told, and written window by window."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from velatura.batch.outcome import FAILED, KEPT, MADE, Outcome
from velatura.batch.plan import Plan
from velatura.batch.results import Results
from velatura.batch.work import Job
from velatura.errors import StoppedError

REPORT = "_report.json"  # data sets leave out names that begin so
LOST = "Nothing was heard of this row: its workers died too often."
MOST_REASONS = 100  # in a report; the table has each row's


class Engine(Protocol):
    """What does the work of a plan."""

    name: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it works, as a report tells it."""
        ...

    def run(self, job: Job, plan: Plan) -> Generator[Outcome, None, None]:
        """The outcomes of the plan's rows, in no order, each at most once."""
        ...


@dataclass(eq=False)
class Tally:
    """What became of a batch's rows so far. ``clock`` gives seconds."""

    rows: int
    clock: Callable[[], float] = time.monotonic
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    evaluations: float = 0.0
    _started: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def add(self, outcome: Outcome) -> None:
        """Count a row's outcome."""
        self.states[outcome.state] += 1
        self.seconds += outcome.seconds
        self.evaluations += outcome.evaluations
        if outcome.state == FAILED and (outcome.error in self.reasons or len(self.reasons) < MOST_REASONS):
            self.reasons[outcome.error] += 1

    @property
    def done(self) -> int:
        """Rows that have an outcome."""
        return self.states.total()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """What the rows that are left will take, as those took that were made; None before there was any."""
        worked = self.done - self.states[KEPT]
        return self.elapsed / worked * (self.rows - self.done) if worked else None


@dataclass(eq=False)
class _Table:
    """Writes a window's file when all its rows have outcomes; of others than open windows it remembers nothing."""

    plan: Plan
    results: Results
    open: dict[int, dict[int, Outcome]] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        window = outcome.row // self.plan.window
        outcomes = self.open.setdefault(window, {})
        outcomes[outcome.row] = outcome
        if len(outcomes) == self.plan.size_of(window):
            self._write(window)

    def finish(self, lost: Callable[[Outcome], None]) -> None:
        """Write the windows that are open still; ``lost`` gets the rows of which nothing was heard, as failed."""
        for window in range(len(self.plan.first_shares)):
            if window in self.written:
                continue
            outcomes = self.open.setdefault(window, {})
            for row in self.plan.rows_of(window):
                if row.number not in outcomes:
                    outcomes[row.number] = Outcome(row.number, FAILED, error=LOST)
                    lost(outcomes[row.number])
            self._write(window)
        self.results.forget_windows(len(self.plan.first_shares))

    def _write(self, window: int) -> None:
        self.results.write_window(window, self.plan.rows_of(window), self.open.pop(window))
        self.written.add(window)


def run_batch(plan: Plan, job: Job, engine: Engine, watch: Callable[[Tally], None]) -> Tally:
    """Work a plan off, and write its table and report; ``watch`` is told after each row.

    Raises StoppedError when the program is asked to end (SIGTERM), after what is done was kept.
    """
    tally, table = Tally(plan.rows), _Table(plan, job.results)
    try:
        with stopped_by_sigterm(), closing(engine.run(job, plan)) as outcomes:
            for outcome in outcomes:
                tally.add(outcome)
                table.add(outcome)
                watch(tally)
            table.finish(tally.add)
    except (StoppedError, KeyboardInterrupt):
        write_report(tally, job.results, engine, stopped=True)
        raise
    write_report(tally, job.results, engine, stopped=False)
    return tally


def write_report(tally: Tally, results: Results, engine: Engine, *, stopped: bool) -> None:
    """Write what became of a batch beside its results, as JSON."""
    told: dict[str, Any] = {
        "engine": engine.name,
        "settings": engine.settings,
        "rows": tally.rows,
        **{state: tally.states[state] for state in (MADE, KEPT, FAILED)},
        "stopped": stopped,
        "seconds": round(tally.elapsed, 3),
        "worker_seconds": round(tally.seconds, 3),
        "unet_evaluations": tally.evaluations,
        "errors": dict(tally.reasons.most_common()),
    }
    results.place.write(REPORT, json.dumps(told, indent=1).encode())


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """While open, SIGTERM raises StoppedError in the main thread."""

    def stop(*_: Any) -> None:
        raise StoppedError("The batch was stopped; what is done is kept, and the same command goes on.")

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
