"""RF-Solver: second-order steps along the velocity, up for inversion and down for sampling (Wang et al. 2024, arXiv
2411.04746).

Any variance-preserving latents are points x_sigma = (1 - sigma) x_0 + sigma eps of a rectified flow, divided by c =
sqrt((1 - sigma)^2 + sigma^2), with dx/dsigma = v = eps - x_0. A DDIM step is the Euler step of this equation. RF-Solver
adds the next term of the Taylor series, with v's derivative taken from a second prediction half-way: two predictions a
step, an error of third order in its length, and an inversion that leads back by steps of the same kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from velatura.diffusion.inversion import Predict, Trajectory
from velatura.models.backbone import Prediction
from velatura.models.noise_schedule import Levels, NoiseSchedule, predict_x0
from velatura.progress import Progress, Silent


@dataclass(frozen=True)
class Level:
    """A noise level of a schedule: its ``timestep`` and alphas_cumprod there (``abar``)."""

    timestep: int
    abar: float

    @property
    def scale(self) -> float:
        """c, by which a flow's x_sigma is divided to preserve variance."""
        return 1 / (math.sqrt(self.abar) + math.sqrt(1 - self.abar))

    @property
    def sigma(self) -> float:
        """The noise share sigma of x_sigma."""
        return math.sqrt(1 - self.abar) * self.scale

    def velocity(self, latents: Tensor, prediction: Prediction) -> Tensor:
        """v = eps - x_0, as a ``prediction`` for variance-preserving ``latents`` at this level implies."""
        return prediction.noise - predict_x0(latents, prediction.noise, self.abar)


def level_at(schedule: NoiseSchedule, timestep: int) -> Level:
    """The level of a training timestep."""
    return Level(timestep, float(schedule.alphas_cumprod[timestep]))


def level_of(schedule: NoiseSchedule, abar: float) -> Level:
    """The level whose alphas_cumprod is nearest to ``abar``."""
    return level_at(schedule, int((schedule.alphas_cumprod - abar).abs().argmin()))


def euler_step(latents: Tensor, velocity: Tensor, first: Level, last: Level) -> Tensor:
    """Variance-preserving latents at ``last`` from those at ``first``: x + (sigma' - sigma) v."""
    return (first.scale * latents + (last.sigma - first.sigma) * velocity) / last.scale


def taylor_step(
    latents: Tensor, velocities: tuple[Tensor, Tensor], first: Level, between: Level, last: Level
) -> Tensor:
    """Latents at ``last`` from those at ``first``, with v there and ``between``: x + d v + d^2 / 2 v' with d = sigma' -
    sigma and v' the difference of the ``velocities`` over that of their sigmas.
    """
    velocity, later = velocities
    derivative = (later - velocity) / (between.sigma - first.sigma)
    return euler_step(latents, velocity + (last.sigma - first.sigma) / 2 * derivative, first, last)


@dataclass(frozen=True)
class FlowStep:
    """A step from ``first`` to ``last``, with the level ``between`` them; None between neighbouring timesteps, where an
    Euler step must do.
    """

    first: Level
    last: Level
    between: Level | None

    @staticmethod
    def over(schedule: NoiseSchedule, abar: float, target_abar: float) -> FlowStep:
        """The step between two levels of a schedule by their alphas_cumprod, in either direction."""
        first, last = level_of(schedule, abar), level_of(schedule, target_abar)
        timestep = (first.timestep + last.timestep) // 2
        neighbours = timestep in (first.timestep, last.timestep)
        return FlowStep(first, last, None if neighbours else level_at(schedule, timestep))

    def begun(self, latents: Tensor, velocity: Tensor) -> Tensor:
        """Where the second prediction is made, or the end of a step that has only one."""
        return euler_step(latents, velocity, self.first, self.between or self.last)


def rf_invert(
    predict: Predict, latents: Tensor, levels: Levels, schedule: NoiseSchedule, progress: Progress | None = None
) -> Trajectory:
    """Take RF-Solver's steps upwards over ``levels`` of a ``schedule``."""
    trajectory, x = [latents], latents
    for _, abar_below, abar in (progress or Silent()).track(levels.steps(), "inversion"):
        step = FlowStep.over(schedule, abar_below, abar)
        velocity = step.first.velocity(x, predict(x, step.first.timestep))
        begun = step.begun(x, velocity)
        if step.between is None:
            x = begun
        else:
            later = step.between.velocity(begun, predict(begun, step.between.timestep))
            x = taylor_step(x, (velocity, later), step.first, step.between, step.last)
        trajectory.append(x)
    return Trajectory(levels, tuple(trajectory))


class RFSolverSampler:
    """RF-Solver as a Sampler over variance-preserving latents: the steps of ``levels`` downwards. Each has a timestep
    for each of its predictions, so that a run has about twice as many timesteps as steps.
    """

    def __init__(self, schedule: NoiseSchedule, levels: Levels) -> None:
        steps = [FlowStep.over(schedule, abar, below) for _, below, abar in reversed(levels.steps())]
        self._stages = [(step, level) for step in steps for level in (step.first, step.between) if level is not None]
        self.timesteps: tuple[int, ...] = tuple(level.timestep for _, level in self._stages)
        self.abars: tuple[float, ...] = tuple(level.abar for _, level in self._stages)
        self._begun: tuple[Tensor, Tensor] | None = None  # latents and velocity at the start of the step under way

    def start(self, latents: Tensor) -> Tensor:
        """The latents themselves: they are variance-preserving already."""
        return latents

    def scale(self, x: Tensor, index: int) -> Tensor:
        """The latents themselves."""
        return x

    def step(self, prediction: Prediction, index: int, latents: Tensor) -> Tensor:
        """Half of a step, or after the second prediction all of it, from where it began."""
        step, level = self._stages[index]
        velocity = level.velocity(latents, prediction)
        if self._begun is None or step.between is None or level is step.first:
            self._begun = (latents, velocity)
            return step.begun(latents, velocity)
        start, first_velocity = self._begun
        return taylor_step(start, (first_velocity, velocity), step.first, step.between, step.last)
