"""Progress over several photos: which one is in work, and the time left for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from velatura.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class PhotoProgress:
    """Hands progress on to ``inner``; before each loop's name stands the photo that it works on, if there are several.

    The time left is that of the results so far, on ``clock`` (seconds), for each of those that are left.
    """

    def __init__(self, inner: Progress | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner, self._clock = inner or Silent(), clock
        self._photo = ""
        self._started: float | None = None

    def start(self, photos: str, of: int, done: int, left: int) -> None:
        """Work on ``photos`` (their numbers) ``of`` so many begins; so many results are ``done`` and ``left``."""
        if self._started is None:
            self._started = self._clock()
        seconds = (self._clock() - self._started) / done * left if done else None
        time_left = "" if seconds is None else f", {spoken(seconds)} left"
        self._photo = f"photo {photos} of {of}{time_left}: " if of > 1 else ""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items``; the photo is named before ``what``."""
        yield from self._inner.track(items, f"{self._photo}{what}")

    def note(self, **values: float) -> None:
        """Hand on named numbers."""
        self._inner.note(**values)

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """Hand on a step's estimate."""
        self._inner.estimate(x0)


def spoken(seconds: float) -> str:
    """A duration in its largest units.

    >>> spoken(8), spoken(125), spoken(4000)
    ('8 s', '2 min', '1 h 6 min')
    """
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
