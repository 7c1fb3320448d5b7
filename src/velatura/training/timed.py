"""Trainings that last a given time: how much of it is over, what is due again, and the learning rate."""

from __future__ import annotations

import time

MINUTE = 60.0  # seconds
LEAST_RATE = 0.02  # of the learning rate, at the end


class Clock:
    """The share (0..1) of ``minutes`` that is over, and what is due again after some of them; without any, all is over
    after the first look.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes, self.progress = minutes, 0.0
        self.started = time.monotonic()
        self.last: dict[str, float] = {}

    def tick(self) -> None:
        """Look at the time."""
        spent = (time.monotonic() - self.started) / MINUTE
        self.progress = min(1.0, spent / self.minutes) if self.minutes else 1.0

    @property
    def over(self) -> bool:
        """Whether the minutes are."""
        return self.progress >= 1

    def due(self, what: str, every: float) -> bool:
        """Whether ``every`` minutes have passed since ``what`` was due last, or all are over."""
        now = time.monotonic()
        if not self.over and now - self.last.get(what, self.started) < MINUTE * every:
            return False
        self.last[what] = now
        return True


def timed_rate(rate: float, step: int, warmup_steps: int, progress: float, decay_share: float) -> float:
    """A learning rate that rises over the first steps and falls linearly over the last ``decay_share`` of the time, to
    a fiftieth.
    """
    rising = min(1.0, (step + 1) / warmup_steps)
    return rate * rising * min(1.0, max(LEAST_RATE, (1 - progress) / decay_share))
