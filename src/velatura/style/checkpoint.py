"""The file of an unfinished fit: safetensors, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors
from velatura.whole_file import warn_not_kept


@dataclass(frozen=True)
class FitState:
    """Tensors and plain numbers of an unfinished fit; ``belongs`` tells the fit from any other."""

    belongs: str
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write the file whole or not at all; where that is impossible, it is warned of and the fit goes on."""
        header = {"fit": json.dumps({"belongs": self.belongs, "numbers": dict(self.numbers)})}
        try:
            write_tensors(path, self.tensors, header)
        except OSError as error:
            warn_not_kept("checkpoint of the fit", path.parent, error.strerror or str(error))

    @staticmethod
    def load(path: Path | None, belongs: str) -> FitState | None:
        """Read the file. None where there is no whole one, or it belongs to another fit."""
        if path is None:
            return None
        try:
            tensors, metadata = read_tensors(path)
            header = json.loads(metadata["fit"])
        except (OSError, DamagedFileError, KeyError, ValueError):
            return None
        return FitState(belongs, tensors, header["numbers"]) if header.get("belongs") == belongs else None
