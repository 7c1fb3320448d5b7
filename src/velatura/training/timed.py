"""Trainings that last a given time: how much of it is over, what is due again, and the learning rate."""

from __future__ import annotations

import time
from dataclasses import dataclass

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


@dataclass(frozen=True)
class TimedRecipe:
    """Settings of every training that lasts ``minutes``: its learning rate, which rises over the first steps and falls
    linearly over the last ``decay_share`` of the time, to a fiftieth; and what happens how often.
    """

    minutes: float = 60.0
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    decay_share: float = 0.4
    average_decay: float = 0.998
    save_minutes: float = 3.0
    log_steps: int = 50
    seed: int = 0

    def learning_rate_at(self, step: int, progress: float) -> float:
        """The rate of a step at a share (0..1) of the time."""
        rising = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * rising * min(1.0, max(LEAST_RATE, (1 - progress) / self.decay_share))
