"""The loop of a fit that can be interrupted and taken up again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from velatura.methods.cost import Cost
from velatura.progress import Progress
from velatura.style.checkpoint import FitState

Curve = list[tuple[int, float]]  # (steps done, loss)
GENERATOR = "generator"
log = logging.getLogger("velatura")


class Fit(Protocol):
    """What is optimised. All that is random comes from ``generator``."""

    generator: torch.Generator

    def initial_loss(self) -> float | None:
        """The loss before the first step, or None where it is not measured."""
        ...

    def step(self, step: int) -> None:
        """Take one optimiser step."""
        ...

    def loss(self) -> float:
        """The loss since the last call, or now."""
        ...

    def stops(self, losses: Sequence[float]) -> bool:
        """Whether the fit is done before its last step, by its losses so far."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Parameters and optimiser state, by name."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up ``state``."""
        ...


@dataclass(frozen=True)
class FitCheckpoint:
    """Where a fit is kept on the way (None: nowhere), what it belongs to, and what it has cost."""

    path: Path | None
    belongs: str
    cost: Cost | None = None

    def restore(self, fit: Fit) -> Curve:
        """Restore ``fit`` from the file of the same fit; its losses so far, none where there is no such file."""
        kept = FitState.load(self.path, self.belongs)
        if kept is None:
            return []
        state = dict(kept.tensors)
        fit.generator.set_state(state.pop(GENERATOR))
        fit.restore(state)
        if self.cost is not None and "cost" in kept.numbers:
            self.cost.resume(*kept.numbers["cost"])
        return [(int(step), float(loss)) for step, loss in kept.numbers["curve"]]

    def save(self, fit: Fit, curve: Curve) -> None:
        """Replace the file."""
        if self.path is not None:
            state = {**fit.state(), GENERATOR: fit.generator.get_state()}
            cost = {} if self.cost is None else {"cost": [self.cost.evaluations, self.cost.seconds]}
            FitState(self.belongs, state, {"curve": curve, **cost}).save(self.path)

    @contextmanager
    def told_when_interrupted(self, curve: Curve) -> Iterator[None]:
        """Say, when Ctrl-C ends a fit of which something is kept, that it can be gone on with."""
        try:
            yield
        except KeyboardInterrupt:
            if self.path is not None and curve and curve[-1][0]:
                log.warning("The fit is kept as it was after %d steps: the same command goes on.", curve[-1][0])
            raise

    def discard(self) -> None:
        """Delete the file of a finished fit, where that is possible."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


def resumable_fit(fit: Fit, steps: int, every: int, checkpoint: FitCheckpoint, progress: Progress) -> Curve:
    """Run ``fit`` for at most ``steps``; its loss by step, taken and checkpointed after each ``every`` steps.

    A resumed fit draws the same numbers as an uninterrupted one. The checkpoint's file is deleted at the end.
    """
    curve = checkpoint.restore(fit)
    first = curve[-1][0] if curve else 0
    if not curve and (loss := fit.initial_loss()) is not None:
        curve.append((0, loss))
        progress.note(loss=loss)
    with checkpoint.told_when_interrupted(curve):
        for step in progress.track(range(first, steps), f"fit, from step {first} on" if first else "fit"):
            # Asked before a step, so that a fit that was interrupted after its last check does not go on.
            if curve and curve[-1][0] == step and fit.stops([loss for _, loss in curve]):
                break
            fit.step(step)
            if (step + 1) % every and step + 1 != steps:
                continue
            loss = fit.loss()
            checkpoint.save(fit, [*curve, (step + 1, loss)])
            curve.append((step + 1, loss))
            progress.note(loss=loss)
    checkpoint.discard()
    return curve
