"""Reporting of progress to a terminal, a page or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class Progress(Protocol):
    """A receiver of progress reports."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` one by one and report how many are done; ``what`` names the loop."""
        ...

    def note(self, **values: float) -> None:
        """Report named numbers of the current item, such as a loss."""
        ...

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """Report a predicted denoising step; ``x0`` computes its estimate of the clean latents (B, C, h, w)."""
        ...


@runtime_checkable
class StepEnd(Protocol):
    """Progress that is told when a denoising step ends, and may change what the next one starts from."""

    def step_end(self, index: int, timestep: int, latents: Tensor) -> Tensor:
        """The latents (B, C, h, w) that the run goes on from: ``latents``, the sampler's own, or others."""
        ...


class Silent:
    """Progress that is not shown."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        yield from items

    def note(self, **values: float) -> None:
        return None

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        return None
