"""DDIM inversion: from a clean latent to the noise that leads back to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from velatura.diffusion.schedules import Levels, add_noise, clean_of
from velatura.progress import Progress, Silent

Predict = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Trajectory:
    """The latents of an inversion: ``latents[i]`` at ``levels.abars[i]``, the clean one first."""

    levels: Levels
    latents: tuple[Tensor, ...]

    @property
    def start(self) -> Tensor:
        """The noisiest latent, from which denoising starts."""
        return self.latents[-1]


def invert(
    predict: Predict, latents: Tensor, levels: Levels, corrections: int = 0, progress: Progress | None = None
) -> Trajectory:
    """Walk the DDIM steps of ``levels`` upwards (Song et al. 2021, eq. 13 reversed).

    One step asks for the noise at the new timestep in the old latent. Each of ``corrections`` fixed-point iterations
    asks in the latent found so far, which makes the step the exact reverse of denoising; they begin where the noise
    of the two steps before leads, straight on, so that with corrections only the first step asks in the old latent.
    """
    walked, noises = [latents], list[Tensor]()
    x = latents
    steps = list(zip(levels.timesteps, levels.abars[:-1], levels.abars[1:], strict=True))
    for timestep, below, above in (progress or Silent()).track(steps, "inversion"):
        noise = straight_on(noises) if corrections and noises else predict(x, timestep)
        guess = add_noise(clean_of(x, noise, below), noise, above)
        for _ in range(corrections):
            noise = predict(guess, timestep)
            guess = add_noise(clean_of(x, noise, below), noise, above)
        noises = [*noises[-1:], noise]
        x = guess
        walked.append(x)
    return Trajectory(levels, tuple(walked))


def straight_on(noises: Sequence[Tensor]) -> Tensor:
    """The noise after the last two, or the last where it is alone."""
    return noises[-1] if len(noises) < 2 else 2 * noises[-1] - noises[-2]


def denoise_exactly(predict: Predict, latents: Tensor, levels: Levels) -> Tensor:
    """The deterministic DDIM steps of ``levels`` downwards, with nothing added: what inversion reverses."""
    x = latents
    for timestep, below, above in reversed(
        list(zip(levels.timesteps, levels.abars[:-1], levels.abars[1:], strict=True))
    ):
        noise = predict(x, timestep)
        x = add_noise(clean_of(x, noise, above), noise, below)
    return x
