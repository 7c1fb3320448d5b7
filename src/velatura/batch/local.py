"""The engine of one machine: worker processes with a model each, as many as its cores and memory are enough for."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Annotated, Any

from velatura.batch.machine import threads_of_children, usable_cores, usable_memory, workers_that_fit
from velatura.batch.outcome import Broken, Died, Outcome, Ready, ShareDone, Started
from velatura.batch.plan import Plan
from velatura.batch.row import Share
from velatura.batch.work import Job
from velatura.batch.worker_process import serve
from velatura.errors import ModelError, VelaturaError
from velatura.methods.validation import Range, check_settings

GRACE = 20.0  # seconds that a pass in work has when the program is stopped
KEPT_FREE = 0.1  # of the memory
MIB = 2**20


@dataclass(frozen=True)
class LocalEngine:
    """Worker processes on this machine: ``workers`` at the most (0: as many as fit), each with so many ``threads``.

    The first worker alone takes the first share; the most memory that it held decides how many others start. Rows that
    were being made when a worker died are tried again ``retries`` times. ``nice`` is the workers' nice level.
    ``say`` gets sentences for the user.
    """

    workers: Annotated[int, Range(0, 1024)] = 0
    threads: Annotated[int, Range(1, 1024)] = 1
    retries: Annotated[int, Range(0, 100)] = 2
    nice: Annotated[int, Range(0, 19)] = 5
    say: Callable[[str], None] = field(default=lambda sentence: None)

    name = "local"

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it works, as a report tells it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "say"}

    def run(self, job: Job, plan: Plan) -> Generator[Outcome | Died, None, None]:
        """The outcome of each of the plan's rows, in no order, and workers' deaths.

        Raises ModelError where no worker can start.
        """
        pool = _Pool(job, self)
        try:
            yield from pool.outcomes(plan.all_shares())
        finally:
            pool.close()


@dataclass(eq=False)
class _Member:
    """One worker process, the share that it has in work, and the rows of it that it began to make together."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    share: Share | None = None
    started: tuple[int, ...] = ()


@dataclass(eq=False)
class _Pool:
    """The workers of a run, what they have in work, and what is to be done again."""

    job: Job
    engine: LocalEngine
    members: list[_Member] = field(default_factory=list)
    again: deque[Share] = field(default_factory=deque)
    told: dict[int, set[int]] = field(default_factory=dict)  # rows with an outcome, of shares in work or to do again
    deaths: Counter[tuple[int, ...]] = field(default_factory=Counter)
    free: int = field(default_factory=usable_memory)
    peak: int = 0

    def outcomes(self, shares: Iterable[Share]) -> Iterator[Outcome | Died]:
        source = iter(shares)
        while True:
            self._start_workers()
            for member in self.members:
                if member.ready and member.share is None and not self._give(member, source):
                    break
            if not self.again and self._at_end(source):
                return
            for pipe in wait([member.pipe for member in self.members]):
                yield from self._hear(next(member for member in self.members if member.pipe is pipe))

    def _at_end(self, source: Iterator[Share]) -> bool:
        """Whether nothing is in work and nothing left; a share that is left is taken to be given next."""
        if any(member.share for member in self.members):
            return False
        share = next(source, None)
        if share is None:
            return True
        self.again.append(share)
        return False

    def _wanted(self) -> int:
        """How many workers there shall be: one until a share has shown how much memory one takes."""
        if not self.peak:
            return 1
        threads = self.engine.threads
        cores = self.engine.workers * threads or usable_cores()
        return workers_that_fit(int(self.free * (1 - KEPT_FREE)), self.peak, cores, threads)

    def _start_workers(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's locks and a GPU's context
        while len(self.members) < self._wanted():
            ours, theirs = context.Pipe()
            arguments = (theirs, self.job, self.engine.threads, self.engine.nice)
            process = context.Process(target=serve, args=arguments, daemon=True)
            with threads_of_children(self.engine.threads):
                process.start()
            theirs.close()
            self.members.append(_Member(process, ours))

    def _give(self, member: _Member, source: Iterator[Share]) -> bool:
        """Hand a share to a worker; False where none is left."""
        share = self.again.popleft() if self.again else next(source, None)
        if share is None:
            return False
        self.told.setdefault(share.index, set())
        member.share, member.started = share, ()
        with suppress(OSError):  # it has died, which is found when its pipe is read
            member.pipe.send(share)
        return True

    def _hear(self, member: _Member) -> Iterator[Outcome | Died]:
        """What a worker tells, or that it has died."""
        try:
            event = member.pipe.recv()
        except (EOFError, OSError):
            self._bury(member)
            yield Died()
            return
        if isinstance(event, Outcome):
            assert member.share is not None
            told = self.told[member.share.index]
            if event.row not in told:  # a share that is done again tells of all its rows again
                told.add(event.row)
                yield event
        elif isinstance(event, Started):
            member.started = event.rows
        elif isinstance(event, ShareDone):
            self._measure(event.peak_memory)
            self.told.pop(member.share.index if member.share else -1, None)
            member.share, member.started = None, ()
        elif isinstance(event, Ready):
            member.ready = True
        elif isinstance(event, Broken):
            raise VelaturaError(event.reason)

    def _measure(self, peak: int) -> None:
        before, self.peak = self.peak, max(self.peak, peak)
        if not before:
            workers, asked = self._wanted(), self.engine.workers
            short = f" (of {asked} asked for: the memory is enough for no more)" if workers < asked else ""
            each = " each" if workers > 1 else ""
            threads = f"{_counted(self.engine.threads, 'thread')}{each}, about {self.peak / MIB:.0f} MiB{each}"
            self.engine.say(f"{_counted(workers, 'worker')} with {threads}{short}.")

    def _bury(self, member: _Member) -> None:
        """Take a dead worker away, and see to its share being done again."""
        member.process.join()
        member.pipe.close()
        self.members.remove(member)
        rows = member.started
        self.deaths[rows] += not member.ready or member.share is not None  # one without work was not killed by any
        too_often = self.deaths[rows] > self.engine.retries
        if not rows and too_often:
            raise ModelError(
                f"Workers die before they have made anything (exit code {member.process.exitcode}): there may be too "
                "little memory."
            )
        self.engine.say(f"A worker died ({_cause(member.process.exitcode)}); {_after(rows, too_often)}.")
        if member.share is not None:
            given_up = member.share.given_up | (frozenset(rows) if too_often else frozenset())
            self.again.appendleft(replace(member.share, given_up=given_up))

    def close(self) -> None:
        """Let the workers end, those with a pass in work after it, and end those that take too long."""
        for member in self.members:
            member.process.terminate()
        end = time.monotonic() + GRACE
        for member in self.members:
            member.process.join(max(0.0, end - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.pipe.close()  # not before: what is told of the pass goes into it


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"


def _cause(code: int | None) -> str:
    """Of what a process ended, by its exit code: minus the number of the signal that killed it."""
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"


def _after(rows: tuple[int, ...], too_often: bool) -> str:
    """What becomes of the rows that a dead worker began to make together."""
    if not rows:
        return "another takes its place"
    return "its rows have killed too many and are given up" if too_often else "its rows are made again"
