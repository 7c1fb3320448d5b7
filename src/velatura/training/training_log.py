"""What a training run reads and leaves behind: shards, a log of numbers, checkpoints to resume from."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from velatura.errors import ModelError
from velatura.progress import Progress

CHECKPOINT = "checkpoint.pt"


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
    """A run's folder: ``log.jsonl`` (one object a line) and ``checkpoint.pt`` (replaced atomically)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.started = time.monotonic()

    def write(self, **numbers: Any) -> None:
        """Append a line of numbers, with the seconds since the log was opened."""
        numbers["seconds"] = round(time.monotonic() - self.started, 1)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(numbers) + "\n")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; an interruption leaves the previous one whole."""
        unfinished = self.folder / (CHECKPOINT + ".part")
        torch.save(state, unfinished)
        unfinished.replace(self.folder / CHECKPOINT)

    def load(self) -> dict[str, Any]:
        """The last checkpoint, tensors and plain numbers only. Raises ModelError when there is none."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            raise ModelError(f"There is no checkpoint in {self.folder} to resume from: start without --resume.")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


def process_seed(seed: int, process: int, first_step: int) -> int:
    """The seed with which each process, and each resumption, draws its own pictures, captions and noise."""
    return (seed * 101 + process) * 100_003 + first_step
