"""The base of outsiders: settings as fields, and the model for those that need one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from torch import Tensor

from velatura.methods.validation import check_settings
from velatura.models.backbone import Backbone

LoadBackbone = Callable[[], Backbone]


@dataclass(frozen=True)
class Outsider(ABC):
    """A ``Stylizer`` that is no method of this package: ``load`` gives the model, asked for only where it is needed."""

    load: LoadBackbone
    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The fields' values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "load"}

    @property
    def evaluations(self) -> int:
        """Evaluations of the denoising network so far: none, without one."""
        return 0

    def at(self, strength: float) -> Outsider:
        """The outsider with another strength, where it has one. Raises SettingError for one out of range."""
        changed: dict[str, Any] = {"strength": strength}
        return replace(self, **changed)

    def prepare(self, style: Tensor) -> None:
        """Nothing is fitted."""
        return None

    @abstractmethod
    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The content in the style, of the content's shape: (1, 3, H, W) in [-1, 1]."""
