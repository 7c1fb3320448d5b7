"""What a training run reads and leaves behind: shards, a log of numbers, checkpoints to resume from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from velatura.errors import ModelError
from velatura.progress import Progress
from velatura.training.parted_file import PartsError, read_parts, write_parts
from velatura.whole_file import warn_not_kept

CHECKPOINT = "checkpoint.json"
log = logging.getLogger("velatura")


@dataclass(frozen=True)
class TrainingRun:
    """One stage of training: the folder of its ``shards``, the folder ``out`` of its log, checkpoint and model, whether
    it resumes from that checkpoint, and who is told of the progress.
    """

    shards: Path
    out: Path
    resume: bool
    progress: Progress


class TrainingLog:
    """A run's folder: ``log.jsonl``, one object a line, and ``checkpoint.json`` with its parts, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()

    def write(self, **numbers: Any) -> None:
        """Append a line of numbers, with the seconds since the log was opened."""
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers["seconds"] = round(time.monotonic() - self.started, 1)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(numbers) + "\n")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; an interruption or a full disk, which is warned of, leaves the previous one whole."""
        content = BytesIO()
        torch.save(state, content)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_parts(self.folder / CHECKPOINT, content.getvalue())
        except OSError as error:
            warn_not_kept("checkpoint of the training", self.folder, error.strerror or str(error))

    @contextmanager
    def kept_when_interrupted(self, state: Callable[[], dict[str, Any]]) -> Iterator[None]:
        """Save the training's ``state`` when Ctrl-C ends it, so that no minute of it is lost."""
        try:
            yield
        except KeyboardInterrupt:
            self.save(state())
            log.warning("What was trained is kept in %s: go on with --resume.", self.folder)
            raise

    def begin(self, resume: bool, entry: str) -> dict[str, Any] | None:
        """The checkpoint to go on from, or None where a new run begins.

        Raises ModelError where there is nothing to resume from, where a new run would replace an earlier one, for a
        file where the folder would be, and for a checkpoint without the ``entry`` that this kind of training keeps.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ModelError(f"{self.folder} is a file, and a folder is needed: give another --out.")
        if resume:
            state = self.load()
            if entry not in state:
                raise ModelError(f"The checkpoint in {self.folder} is of another kind of training: give its own --out.")
            return state
        if (self.folder / CHECKPOINT).is_file():
            raise ModelError(f"There is a run in {self.folder} already: go on with --resume, or give another --out.")
        return None

    def load(self) -> dict[str, Any]:
        """The last checkpoint, tensors and plain numbers only. Raises ModelError when there is no whole one."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            raise ModelError(f"There is no checkpoint in {self.folder} to resume from: start without --resume.")
        try:
            content = BytesIO(read_parts(path))
            state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError, PartsError) as error:
            reason = str(error).split("\n")[0]
            raise ModelError(f"The checkpoint {path} is damaged ({reason}): start without --resume.") from None
        return state


def means_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of numbers by name, for the log; nothing where nothing was found."""
    return {name: round(sum(each[name] for each in found) / len(found), 4) for name in found[0]} if found else {}


def process_seed(seed: int, process: int, first_step: int) -> int:
    """The seed with which each process, and each resumption, draws its own pictures, captions and noise."""
    return (seed * 101 + process) * 100_003 + first_step
