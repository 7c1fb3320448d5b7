"""Outputs of a network's modules along the DDIM inversion of a source, for passes over other latents to draw from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from velatura.cache import Cache
from velatura.diffusion.attention_control import Recording, recorded
from velatura.diffusion.guidance import without_adapters
from velatura.diffusion.inversion import Trajectory, invert
from velatura.models.backbone import Backbone, Conditioning, HasUNet, Prediction, denoising_network
from velatura.models.noise_schedule import Levels, ddim_step
from velatura.progress import Progress

MOST_KEPT = 4 * 2**30  # bytes of an inversion's recordings that are held in main memory


class UNetBackbone(Backbone, HasUNet, Protocol):
    """A model whose denoising network is a diffusers UNet."""


class SourceFeatures(Protocol):
    """Recordings of a source's passes, asked for once a timestep, from the noisiest to the cleanest."""

    def recording(self, timestep: int) -> Recording:
        """The outputs of the modules that are recorded at ``timestep``."""
        ...


@dataclass(frozen=True, eq=False)
class SourceInversion:
    """The DDIM inversion of a source picture over ``levels``, with ``corrections`` fixed-point iterations a step, and
    the names of the ``modules`` to record at each timestep.
    """

    backbone: Backbone
    conditioning: Conditioning
    levels: Levels
    corrections: int
    modules: Mapping[int, Sequence[str]]

    def record(self, latents: Tensor, timestep: int) -> tuple[Prediction, Recording]:
        """A pass over the source's latents (1, C, h, w), and what it recorded."""
        with recorded(denoising_network(self.backbone), self.modules[timestep]) as recording:
            prediction = without_adapters(self.backbone, self.conditioning)(latents, timestep)
        return prediction, recording

    def run(self, encode: Callable[[], Tensor], key: Hashable, cache: Cache, progress: Progress) -> RecordedSource:
        """Invert what ``encode`` gives, clean latents (1, C, h, w), and record the last pass of each step.

        The trajectory and the inputs of those passes are kept under ``key``. The recordings are not: with a kept
        trajectory, and beyond ``MOST_KEPT``, each is made when it is asked for, by a pass over the same input.
        """
        inputs: dict[int, Tensor] = {}
        recordings: dict[int, Recording] = {}

        def predict(latents: Tensor, timestep: int) -> Prediction:
            prediction, recording = self.record(latents, timestep)
            inputs[timestep] = latents
            recordings.pop(timestep, None)
            if _bytes_of(*recordings.values(), recording) <= MOST_KEPT:
                recordings[timestep] = {name: output.cpu() for name, output in recording.items()}
            return prediction

        def compute() -> Tensor:
            trajectory = invert(predict, encode(), self.levels, self.corrections, progress)
            return torch.cat([*trajectory.latents, *(inputs[timestep] for timestep in self.levels.timesteps)])

        kept = torch.split(cache.get_or_compute_tensor(key, compute).to(self.backbone.device), 1)
        count = len(self.levels) + 1
        trajectory = Trajectory(self.levels, kept[:count])
        return RecordedSource(self, trajectory, dict(zip(self.levels.timesteps, kept[count:], strict=True)), recordings)


def _bytes_of(*recordings: Recording) -> int:
    return sum(output.nbytes for recording in recordings for output in recording.values())


class RecordedSource:
    """The recordings of an inversion, in main memory until they are asked for; or made then, from the ``inputs``
    (timestep to latents) of the inversion's passes.
    """

    def __init__(
        self,
        inversion: SourceInversion,
        trajectory: Trajectory,
        inputs: Mapping[int, Tensor],
        recordings: Mapping[int, Recording],
    ) -> None:
        self.inversion, self.trajectory, self.inputs = inversion, trajectory, inputs
        self._recordings = dict(recordings)

    def recording(self, timestep: int) -> Recording:
        """What the inversion's last pass at ``timestep`` recorded; it is given up, to free its memory."""
        if not self.inversion.modules[timestep]:
            return {}
        kept = self._recordings.pop(timestep, None)
        return self.inversion.record(self.inputs[timestep], timestep)[1] if kept is None else kept


class WalkedSource:
    """Recordings of the source's own denoising, one DDIM step for each; ``latents`` is where it has arrived."""

    def __init__(self, inversion: SourceInversion, trajectory: Trajectory) -> None:
        self.inversion, self.latents = inversion, trajectory.noisiest
        self._abars = {timestep: (below, abar) for timestep, below, abar in trajectory.levels.steps()}

    def recording(self, timestep: int) -> Recording:
        """What the pass at ``timestep`` recorded; takes the step."""
        below, abar = self._abars[timestep]
        prediction, recording = self.inversion.record(self.latents, timestep)
        self.latents = ddim_step(self.latents, prediction.noise, abar, below)
        return recording
