"""The file of an unfinished fit: safetensors, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from velatura.picture.writing import replacing


@dataclass(frozen=True)
class FitState:
    """Tensors and plain numbers of an unfinished fit; ``belongs`` tells the fit from any other."""

    belongs: str
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        header = {"fit": json.dumps({"belongs": self.belongs, "numbers": dict(self.numbers)})}
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, header)

    @staticmethod
    def load(path: Path | None, belongs: str) -> FitState | None:
        """Read the file. None where there is no readable one, or it belongs to another fit."""
        if path is None:
            return None
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["fit"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (FileNotFoundError, SafetensorError, OSError, KeyError, ValueError):
            return None
        return FitState(belongs, tensors, header["numbers"]) if header.get("belongs") == belongs else None
