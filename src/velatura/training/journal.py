"""What a training run leaves behind: a log of numbers and checkpoints that can be taken up again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from velatura.errors import ModelError

CHECKPOINT = "checkpoint.pt"


class Journal:
    """One run's folder: ``log.jsonl`` (one object a line) and ``checkpoint.pt`` (replaced atomically)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.started = time.monotonic()

    def write(self, **numbers: Any) -> None:
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
