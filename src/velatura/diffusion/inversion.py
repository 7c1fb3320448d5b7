"""DDIM inversion: from clean latents to the noise that denoising leads back from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from velatura.models.backbone import Prediction
from velatura.models.noise_schedule import Levels, ddim_step
from velatura.progress import Progress, Silent

Predict = Callable[[Tensor, int], Prediction]


@dataclass(frozen=True)
class Trajectory:
    """The latents of an inversion: ``latents[i]`` at ``levels.abars[i]``, the clean ones first."""

    levels: Levels
    latents: tuple[Tensor, ...]

    @property
    def noisiest(self) -> Tensor:
        """The last latents, from which denoising starts."""
        return self.latents[-1]


def invert(
    predict: Predict, latents: Tensor, levels: Levels, corrections: int = 0, progress: Progress | None = None
) -> Trajectory:
    """Take the DDIM steps of ``levels`` upwards (Song et al. 2021, eq. 13 reversed).

    A step without corrections predicts the noise from the old latents at the new timestep. Each of ``corrections``
    fixed-point iterations predicts it again from the new latents, which makes the step the exact reverse of denoising.
    With corrections, the first guess of a step is extrapolated from the noise of the two steps before.
    """
    trajectory, noises = [latents], list[Tensor]()
    x = latents
    for timestep, abar_below, abar in (progress or Silent()).track(levels.steps(), "inversion"):
        noise = extrapolated(noises) if corrections and noises else predict(x, timestep).noise
        guess = ddim_step(x, noise, abar_below, abar)
        for _ in range(corrections):
            noise = predict(guess, timestep).noise
            guess = ddim_step(x, noise, abar_below, abar)
        noises = [*noises[-1:], noise]
        x = guess
        trajectory.append(x)
    return Trajectory(levels, tuple(trajectory))


def extrapolated(noises: Sequence[Tensor]) -> Tensor:
    """The noise after the last two by linear extrapolation, or the last where it is the only one."""
    return noises[-1] if len(noises) < 2 else 2 * noises[-1] - noises[-2]


def ddim_denoise(predict: Predict, latents: Tensor, levels: Levels) -> Tensor:
    """The deterministic DDIM steps of ``levels`` downwards: what ``invert`` reverses."""
    x = latents
    for timestep, abar_below, abar in reversed(levels.steps()):
        x = ddim_step(x, predict(x, timestep).noise, abar, abar_below)
    return x
