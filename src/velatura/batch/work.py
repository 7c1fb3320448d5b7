"""The work on a share of rows, the same in every engine: read, form passes, make what is not there yet, keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from velatura.batch.outcome import FAILED, KEPT, MADE, Outcome, Started
from velatura.batch.place import Patience, read_input
from velatura.batch.results import Results
from velatura.batch.row import Row, Share
from velatura.errors import TargetError, VelaturaError

UNSAFE = re.compile(r"[^\w.+-]+")
MOST_BYTES = 512 * 2**20  # of a picture's file
LONGEST_PART, REQUEST_DIGITS = 60, 16  # of a picture's name
# Beside the user's errors what one picture may cause. Out of memory on a GPU is a RuntimeError.
OF_ONE_PASS = (VelaturaError, OSError, MemoryError, RuntimeError, ValueError)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A row with its content's bytes; rows ``alike`` may share a pass. ``request`` is the hash of all that decides
    about its picture but who shares its pass.
    """

    row: Row
    content: bytes
    request: str
    alike: Hashable


@dataclass(frozen=True)
class Made:
    """A picture file's bytes, and what it cost."""

    picture: bytes
    seconds: float = 0.0
    evaluations: float = 0.0


class Runner(Protocol):
    """What makes the pictures of rows; each worker has one. The same rows give the same bytes, whatever was before."""

    ending: str  # of the pictures' names

    def prepare(self, row: Row, content: bytes) -> Prepared:
        """A row made ready without much work. Raises VelaturaError for one that cannot be made."""
        ...

    def most_together(self, prepared: Prepared) -> int:
        """How many rows like this one share a pass at the most."""
        ...

    def make(self, together: Sequence[Prepared]) -> Sequence[Made]:
        """The pictures of rows that share a pass."""
        ...

    def sentence(self, error: Exception) -> str:
        """What an error means to the user."""
        ...


class RunnerFactory(Protocol):
    """Makes a worker's runner, in the worker. It travels there pickled. Raises VelaturaError where none can be made."""

    def __call__(self) -> Runner: ...

    def states(self) -> Callable[[Row], str]:
        """A function that tells in what state the files and programs are that make a row's picture: another text when
        any has changed, "" where that cannot be told without a model. It reads no contents.
        """
        ...


@dataclass(frozen=True)
class Job:
    """What a worker needs beside shares; it travels to it pickled."""

    factory: RunnerFactory
    results: Results
    patience: Patience = field(default_factory=Patience)


@dataclass(eq=False)
class Worker:
    """A runner at work on a job."""

    job: Job
    runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = self.job.factory()

    def work(self, share: Share) -> Iterator[Started | Outcome]:
        """Make a share's pictures that are not there; each pass is announced, and each row ends with an outcome.

        Raises TargetError where results cannot be written, or read.
        """
        prepared: list[Prepared] = []
        contents: dict[str, bytes] = {}
        for row in share.rows:
            try:
                prepared.append(self._prepared(row, share, contents))
            except VelaturaError as error:
                yield Outcome(row.number, FAILED, error=str(error))
        for together in self._passes(prepared):
            yield Started(tuple(each.row.number for each in together))
            yield from self._work_on(together, share.window)

    def _prepared(self, row: Row, share: Share, contents: dict[str, bytes]) -> Prepared:
        if row.number in share.given_up:
            raise VelaturaError("The workers that made this row were killed: there may be too little memory for it.")
        if row.content not in contents:
            contents[row.content] = read_input(row.content, MOST_BYTES, self.job.patience)
        return self.runner.prepare(row, contents[row.content])

    def _passes(self, prepared: Sequence[Prepared]) -> Iterator[list[Prepared]]:
        """Rows that share a pass, in order. They depend on the share alone, not on what is there already."""
        groups: dict[Hashable, list[Prepared]] = {}
        for each in prepared:
            groups.setdefault(each.alike, []).append(each)
        for group in groups.values():
            most = self.runner.most_together(group[0])
            for first in range(0, len(group), most):
                yield group[first : first + most]

    def _work_on(self, together: Sequence[Prepared], window: int) -> Iterator[Outcome]:
        """One pass; alone each, where that cannot be done together."""
        requests = pass_requests(together)
        names = [self._name(each.row, request) for each, request in zip(together, requests, strict=True)]
        found = [self.job.results.find(name, window) for name in names]
        made: Sequence[Made] = [Made(b"")] * len(together)
        if None in found:
            try:
                made = self.runner.make(together)
            except TargetError:
                raise
            except OF_ONE_PASS as error:
                if len(together) > 1:
                    for each in together:
                        yield from self._work_on([each], window)
                else:
                    yield Outcome(together[0].row.number, FAILED, error=self.runner.sentence(error))
                return
        for each, name, request, old, new in zip(together, names, requests, found, made, strict=True):
            if old is None:
                self.job.results.keep(name, new.picture)
            digest = hashlib.sha256(new.picture if old is None else old).hexdigest()
            state = MADE if old is None else KEPT
            yield Outcome(each.row.number, state, name, request, digest, "", new.seconds, new.evaluations)

    def _name(self, row: Row, request: str) -> str:
        """A name that says what the picture is; no other picture has it."""
        content, style = (UNSAFE.sub("-", PurePosixPath(text).stem)[:LONGEST_PART] for text in (row.content, row.style))
        return f"{content.strip('.')}_{style}_{request[:REQUEST_DIGITS]}{self.runner.ending}"


def pass_requests(together: Sequence[Prepared]) -> list[str]:
    """The hashes of all that decides about the pictures of a pass: who shares it decides about the last bits."""
    company = "".join(each.request for each in together)
    return [hashlib.sha256(f"{each.request}{company}{i}".encode()).hexdigest() for i, each in enumerate(together)]
