"""What every function of a method needs beside its settings, in one parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from velatura.cache import Cache
from velatura.methods.adapters.given import GivenAdapters
from velatura.models.backbone import Backbone, Conditioning
from velatura.progress import Progress, Silent

B = TypeVar("B", bound=Backbone, covariant=True)


@dataclass(frozen=True)
class RunContext(Generic[B]):
    """The model, the seed of everything random, the results that are kept, and who is told of the progress.

    ``given`` is what a caller in Python brings for adapters beside a method's settings.
    """

    backbone: B
    seed: int = 0
    cache: Cache = field(default_factory=Cache)
    progress: Progress = field(default_factory=Silent)
    given: GivenAdapters = field(default_factory=GivenAdapters)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.backbone.device

    def generator(self, offset: int = 0) -> torch.Generator:
        """A new CPU generator seeded with ``seed + offset``, so that a seed means the same on every device."""
        return torch.Generator().manual_seed(self.seed + offset)

    def noise(self, shape: torch.Size, offset: int = 0) -> Tensor:
        """Standard normal noise of ``shape`` on the model's device, the same for one seed and offset."""
        return torch.randn(shape, generator=self.generator(offset)).to(self.device)

    def unconditional(self) -> Conditioning:
        """The model's conditioning without a prompt."""
        return self.backbone.unconditional()
