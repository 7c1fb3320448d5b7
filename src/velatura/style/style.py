"""A fitted style: one safetensors file with its card in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from velatura.errors import StyleError
from velatura.picture.writing import replacing

FORMAT = "velatura-style-1"


@dataclass(frozen=True)
class Style:
    """The result of fitting one picture by one method on one base model.

    ``model`` is the base model's name and ``fingerprint`` that of its weights (empty where an imported file does not
    say); ``card`` describes the fit (settings, the picture's SHA-256, versions) in plain JSON values.
    """

    name: str
    method: str
    model: str
    fingerprint: str
    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """A hash of everything that was fitted."""
        digest = hashlib.sha256(f"{self.method}{self.fingerprint}".encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the style whole or not at all."""
        header = {
            "name": self.name,
            "method": self.method,
            "model": self.model,
            "fingerprint": self.fingerprint,
        }
        metadata = {"format": FORMAT, "style": json.dumps({**header, "card": self.card}, sort_keys=True)}
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in self.tensors.items()}
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, metadata)

    @staticmethod
    def load(path: Path) -> Style:
        """Read a style file. Raises StyleError for anything else."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            if metadata.get("format") != FORMAT:
                raise StyleError(f"{path} is not a style of this program: make one with 'velatura fit'.")
            fields = json.loads(metadata["style"])
            return Style(**fields, tensors=tensors)
        except FileNotFoundError:
            raise StyleError(f"There is no style file {path}: check the name.") from None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise StyleError(f"The style file {path} is damaged ({error}): fit or import it again.") from None

    def check(self, method: str, fingerprint: str, model: str) -> None:
        """Raise StyleError unless the style was fitted by ``method`` on the base model in use."""
        if self.method != method:
            raise StyleError(f"The style '{self.name}' was fitted for {self.method}: use --method {self.method}.")
        if self.fingerprint and self.fingerprint != fingerprint:
            raise StyleError(
                f"The style '{self.name}' was fitted on the model {self.model}, not on {model}: "
                f"use --model {self.model}, or fit it again."
            )
