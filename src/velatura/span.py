"""A part of a denoising run, and the one definition of how far a run has come."""

from __future__ import annotations

from dataclasses import dataclass

from velatura.errors import SettingError


@dataclass(frozen=True)
class Span:
    """A half-open part [start, end) of a run, both as shares of its steps in [0, 1]."""

    start: float = 0.0
    end: float = 1.0

    def check(self, what: str) -> None:
        """Raise SettingError, naming ``what`` has the span, unless 0 <= start < end <= 1."""
        if not 0 <= self.start < self.end <= 1:
            raise SettingError(f"The span of {what} must lie in 0-1 and rise, not {self.start:g}-{self.end:g}.")

    def contains(self, progress: float) -> bool:
        """Whether a step at ``progress`` (see ``progress_of``) lies in the span."""
        return self.start <= progress < self.end


WHOLE_RUN = Span()


def progress_of(step: int, steps: int) -> float:
    """The share of a run's ``steps`` that is done when ``step`` (0 is the noisiest) begins: from 0 to below 1."""
    return step / steps
