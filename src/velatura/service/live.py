"""What a running job shows: its stage, its steps, its losses and previews; and how it is stopped within a step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from torch import Tensor

from velatura.errors import StoppedError
from velatura.models.backbone import Backbone
from velatura.service.previews import Previewer

T = TypeVar("T")
Phase = Literal["preparing", "painting"]
DENOISING = "denoising"  # the stage in which steps are shown
CURVE = 400  # points of a curve of losses, beyond which every second one is dropped


@dataclass(frozen=True)
class Live:
    """A running job at a moment: ``stage`` names the loop of which ``done`` of ``total`` items are, ``step`` counts
    denoising steps, ``losses`` are the latest by name, ``curve`` pairs of item and sum of losses, ``preview`` a JPEG.
    ``version`` grows with every change.
    """

    version: int = 0
    stage: str = "loading"
    done: int = 0
    total: int = 0
    step: int = 0
    losses: tuple[tuple[str, float], ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    preview: bytes = b""
    preview_step: int = 0

    @property
    def phase(self) -> Phase:
        """Whether it is being painted, or something comes before: loading, a style's fit, the photo's inversion."""
        return "painting" if self.step or self.stage == DENOISING else "preparing"


class Board:
    """What running jobs show, by id; written by the worker, read by anyone. Previews are due every so many steps."""

    def __init__(self, preview_every: int) -> None:
        self.preview_every = preview_every
        self._lock = threading.Lock()
        self._shown: dict[str, Live] = {}

    def get(self, job_id: str) -> Live | None:
        """What a job shows; None where it does not run."""
        with self._lock:
            return self._shown.get(job_id)

    def show(self, job_ids: Sequence[str], change: Callable[[Live], Live]) -> None:
        """Change what jobs show."""
        with self._lock:
            for job_id in job_ids:
                before = self._shown.get(job_id, Live())
                self._shown[job_id] = replace(change(before), version=before.version + 1)

    def clear(self, job_ids: Sequence[str]) -> None:
        """Take jobs off that are over."""
        with self._lock:
            for job_id in job_ids:
                self._shown.pop(job_id, None)


class JobProgress:
    """Progress of a run that is shown on a board, with a preview every few steps.

    Before each item and each step ``stopped`` is asked; where it is true the run ends with a StoppedError. The preview
    is that of the first of several contents.
    """

    def __init__(self, board: Board, job_ids: Sequence[str], backbone: Backbone, stopped: Callable[[], bool]) -> None:
        self._board, self._job_ids, self._previewer = board, job_ids, Previewer(backbone)
        self._stopped, self._step = stopped, 0

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` and show how many are done."""
        for number, item in enumerate(items):
            self._check()
            done = number
            self._show(lambda live, done=done: replace(live, stage=what, done=done, total=len(items)))  # type: ignore[misc]
            yield item
        self._show(lambda live: replace(live, stage=what, done=len(items), total=len(items)))

    def note(self, **values: float) -> None:
        """Show named losses, and their sum as a point of the curve."""
        self._show(lambda live: replace(live, losses=tuple(values.items()), curve=_longer(live, values)))

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """Show a step, and where it is due its decoded estimate."""
        self._check()
        self._step += 1
        self._show(lambda live: replace(live, step=self._step))
        if self._step % self._board.preview_every == 0 or self._step == 1:
            shown = self._previewer.preview(x0()[:1])
            self._board.show(self._job_ids[:1], lambda live: replace(live, preview=shown, preview_step=self._step))

    def _show(self, change: Callable[[Live], Live]) -> None:
        self._board.show(self._job_ids, change)

    def _check(self) -> None:
        if self._stopped():
            raise StoppedError("Stopped, as asked; nothing was kept.")


def _longer(live: Live, values: dict[str, float]) -> tuple[tuple[int, float], ...]:
    curve = live.curve if len(live.curve) < CURVE else live.curve[::2]
    return (*curve, (live.done, float(sum(values.values()))))
