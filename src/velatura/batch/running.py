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

from velatura.batch.finished import Finished
from velatura.batch.outcome import FAILED, KEPT, MADE, Died, Outcome
from velatura.batch.plan import Plan
from velatura.batch.results import Results
from velatura.batch.work import Job
from velatura.errors import StoppedError

REPORT = "_report.json"  # data sets leave out names that begin so
LOST = "Nothing was heard of this row: its workers died too often."
TOLD_TOGETHER = 1.0  # seconds within which the rows of one pass, or on Ray of one share, are told
MOST_REASONS = 100  # in a report; the table has each row's


class Engine(Protocol):
    """What does the work of a plan."""

    name: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it works, as a report tells it."""
        ...

    def run(self, job: Job, plan: Plan) -> Generator[Outcome | Died, None, None]:
        """The outcomes of the plan's rows, in no order, each at most once, and the deaths of workers."""
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
    deaths: int = 0  # of workers
    _started: float = 0.0
    _first: float | None = None  # when the first row had been worked on
    _began: float = 0.0  # and when the work on it began

    def __post_init__(self) -> None:
        self._started = self.clock()

    def add(self, outcome: Outcome) -> None:
        """Count a row's outcome."""
        self.states[outcome.state] += 1
        if outcome.state != KEPT:
            self._note_beginning(outcome.seconds)
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
        """What the rows that are left will take, as those took that were made, without the time until the first
        model was loaded; None before there was any.
        """
        worked = self.done - self.states[KEPT]
        return (self.clock() - self._began) / worked * (self.rows - self.done) if worked else None

    def _note_beginning(self, seconds: float) -> None:
        """The first row's work began its seconds ago; rows that are told together with it were made before it."""
        now = self.clock()
        if self._first is None:
            self._first = self._began = now
        if now - self._first < TOLD_TOGETHER:
            self._began -= seconds


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

    def _write(self, window: int) -> None:
        self.results.write_window(window, self.plan.rows_of(window), self.open.pop(window))
        self.written.add(window)


def run_batch(plan: Plan, job: Job, engine: Engine, watch: Callable[[Tally], None]) -> Tally:
    """Work a plan off, and write its table and report; ``watch`` is told after each row.

    Where all of it is there, unchanged since it was made, no engine is asked. Raises StoppedError when the program is
    asked to end (SIGTERM), after what is done was kept.
    """
    tally, finished = Tally(plan.rows), Finished(plan, job)
    try:
        with stopped_by_sigterm():
            before = finished.inputs()
            if finished.holds(before):
                tally.states[KEPT] = plan.rows
            else:
                _work(job, engine, _Table(plan, job.results), tally, watch)
                finished.keep(before, tally.states[FAILED])
    except (StoppedError, KeyboardInterrupt):
        write_report(tally, job.results, engine, stopped=True)
        raise
    write_report(tally, job.results, engine, stopped=False)
    return tally


def _work(job: Job, engine: Engine, table: _Table, tally: Tally, watch: Callable[[Tally], None]) -> None:
    with closing(engine.run(job, table.plan)) as events:
        for event in events:
            if isinstance(event, Died):
                tally.deaths += 1
            else:
                tally.add(event)
                table.add(event)
            watch(tally)
        table.finish(tally.add)


def write_report(tally: Tally, results: Results, engine: Engine, *, stopped: bool) -> None:
    """Write what became of a batch beside its results, as JSON."""
    told: dict[str, Any] = {
        "plan": results.plan,
        "engine": engine.name,
        "settings": engine.settings,
        "rows": tally.rows,
        **{state: tally.states[state] for state in (MADE, KEPT, FAILED)},
        "stopped": stopped,
        "worker_deaths": tally.deaths,
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
