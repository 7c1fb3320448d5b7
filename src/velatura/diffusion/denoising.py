"""The one denoising loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from velatura.diffusion.inversion import Predict
from velatura.diffusion.samplers import Sampler
from velatura.models.backbone import Prediction
from velatura.models.noise_schedule import add_noise, predict_x0
from velatura.progress import Progress, Silent, StepEnd
from velatura.span import progress_of


@dataclass(frozen=True)
class DenoisingStep:
    """One step before it is taken: variance-preserving ``latents`` at level ``abar`` and the model's prediction.

    ``index`` counts the steps of the run from 0, the noisiest; ``progress`` is the share of them that is done.
    """

    index: int
    timestep: int
    abar: float
    progress: float
    latents: Tensor
    prediction: Prediction

    @property
    def noise(self) -> Tensor:
        """The predicted noise."""
        return self.prediction.noise

    @property
    def x0(self) -> Tensor:
        """The x_0 that the prediction implies."""
        return self.predict_x0()

    def predict_x0(self) -> Tensor:
        """The x_0 that the prediction implies, as a function."""
        return predict_x0(self.latents, self.noise, self.abar)

    def with_x0(self, x0: Tensor) -> DenoisingStep:
        """The same noise around another x_0: latents = sqrt(abar) x_0 + sqrt(1 - abar) eps."""
        return replace(self, latents=add_noise(x0, self.noise, self.abar))

    def with_noise(self, noise: Tensor) -> DenoisingStep:
        """The same latents with another predicted noise."""
        return replace(self, prediction=replace(self.prediction, noise=noise))


Steer = Callable[[DenoisingStep], DenoisingStep]
AfterStep = Callable[[int, Tensor], Tensor]


def unsteered(step: DenoisingStep) -> DenoisingStep:
    """The step as the model predicts it."""
    return step


def unchanged(_index: int, x: Tensor) -> Tensor:
    """The sampler's result as it is."""
    return x


def denoise(
    predict: Predict,
    latents: Tensor,
    sampler: Sampler,
    *,
    steer: Steer = unsteered,
    after_step: AfterStep = unchanged,
    progress: Progress | None = None,
) -> Tensor:
    """Denoise variance-preserving ``latents`` (B, C, h, w) over the timesteps of ``sampler``.

    ``steer`` may give a step other latents or another noise before it is taken; ``after_step`` gets the step's index
    and the sampler's result, and returns what the next step starts from; a ``progress`` with ``step_end`` has the last
    word. Without timesteps the latents come back.
    """
    x = sampler.start(latents)
    steps = len(sampler.timesteps)
    indexed = list(enumerate(sampler.timesteps))
    reported = progress or Silent()
    step_end = reported.step_end if isinstance(reported, StepEnd) else _as_sampled
    for index, timestep in reported.track(indexed, "denoising"):
        preserved = sampler.scale(x, index)
        prediction = predict(preserved, timestep)
        predicted = DenoisingStep(
            index, timestep, sampler.abars[index], progress_of(index, steps), preserved, prediction
        )
        # Before it is steered: at high noise a push in one crop is a loud square in x0, which the next step smooths.
        reported.estimate(predicted.predict_x0)
        step = steer(predicted)
        x = step_end(index, timestep, after_step(index, sampler.step(step.prediction, index, step.latents)))
    return x


def _as_sampled(_index: int, _timestep: int, x: Tensor) -> Tensor:
    return x
