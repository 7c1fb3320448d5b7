"""Published weights: where a metric looks for them, and what it says where they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from velatura.errors import ModelError


@dataclass(frozen=True)
class PublishedWeights:
    """What a metric needs: installed ``packages``, and the ``file`` that ``url`` has, among torch.hub's checkpoints."""

    metric: str
    packages: Sequence[str]
    file: str
    url: str

    @property
    def path(self) -> Path:
        """Where the weights are looked for."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def check(self) -> None:
        """Raise ModelError, saying how to get it, for what is missing."""
        missing = [package for package in self.packages if find_spec(package.replace("-", "_")) is None]
        if missing:
            raise ModelError(f"{self.metric} needs {' and '.join(missing)}: pip install {' '.join(missing)}.")
        if not self.path.is_file():
            raise ModelError(f"{self.metric} needs its published weights: download {self.url} to {self.path}.")
