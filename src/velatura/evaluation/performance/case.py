"""What one process measures, and what came of it, as JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

METHOD, MAGENTA, NETWORKS, RATE, AGREEMENT = "method", "magenta", "networks", "rate", "agreement"


@dataclass(frozen=True)
class Case:
    """One measurement: a ``kind`` (METHOD, MAGENTA, NETWORKS, RATE or AGREEMENT) and what it is of.

    ``model`` is a model's name or one of ``random_models.SHAPES``, ``size`` the short side in pixels (0: the method's),
    ``batch`` how many pictures share the passes, ``settings`` those of the method beside its defaults.
    """

    kind: str
    method: str = ""
    model: str = "house"
    size: int = 256
    device: str = "cpu"
    dtype: str = "fp32"
    batch: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The case in a line."""
        words = [self.method or self.kind, "" if self.kind in (MAGENTA, RATE) else self.model]
        words += ["" if self.kind == RATE else f"{self.size} px" if self.size else "own size"]
        words += [self.device, self.dtype, f"batch {self.batch}" if self.batch > 1 else ""]
        words += ["CPU against GPU" if self.kind == AGREEMENT else ""]
        return " ".join(word for word in words if word)

    def to_json(self) -> str:
        """The case as a process is given it."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> Case:
        """The case that ``to_json`` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Measurement:
    """A case with its ``figures`` by name, or with the ``reason`` for which there are none."""

    case: Case
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
