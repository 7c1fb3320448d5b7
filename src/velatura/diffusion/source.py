"""What the UNet computes on the content's own way between picture and noise: the source that injection draws from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from velatura.diffusion.injection import Injection, Recording, injection_sites, recorded
from velatura.diffusion.inversion import Trajectory, invert
from velatura.diffusion.schedules import Levels, add_noise, clean_of
from velatura.models.backbone import Condition
from velatura.models.latent import LatentBackbone
from velatura.progress import Progress


class Source(Protocol):
    """Recordings, asked for once a step, from the noisiest (the highest) to the cleanest (0)."""

    def recording(self, step: int) -> Recording:
        """What passed the sites of ``injections[step]``."""
        ...


class RecordedSource:
    """Records while it inverts, and holds in main memory what the ``injections`` of the steps will ask for.

    A trajectory that was kept from before is recorded by a pass a step, in the very latents of the inversion's last
    passes, so that the recordings are the same.
    """

    def __init__(
        self, backbone: LatentBackbone, condition: Condition, levels: Levels, injections: Sequence[Injection]
    ) -> None:
        self.backbone, self.condition, self.levels, self.injections = backbone, condition, levels, injections
        self.passed: dict[int, Tensor] = {}
        self._sites = injection_sites(backbone.unet)
        self._kept: dict[int, Recording] = {}

    def predict(self, latents: Tensor, timestep: int) -> Tensor:
        """The noise in the source's latents; the last pass of a timestep is the one that is kept."""
        injection = self.injections[self.levels.timesteps.index(timestep)]
        with recorded(self.backbone.unet, self._sites, injection) as recording:
            noise = self.backbone.predict(latents, timestep, self.condition)
        self._kept[timestep] = {name: value.cpu() for name, value in recording.items()}
        self.passed[timestep] = latents
        return noise

    def invert(self, latents: Tensor, corrections: int, progress: Progress) -> Trajectory:
        """The trajectory of clean latents."""
        return invert(self.predict, latents, self.levels, corrections, progress)

    def recording(self, step: int) -> Recording:
        timestep = self.levels.timesteps[step]
        if not self.injections[step].modules(self.backbone.unet, self._sites):
            return {}
        if timestep not in self._kept:
            self.predict(self.passed[timestep], timestep)
        return self._kept.pop(timestep)


class WalkedSource:
    """Walks the trajectory back in a pass a step; ``latents`` is where it has arrived."""

    def __init__(
        self, backbone: LatentBackbone, condition: Condition, trajectory: Trajectory, injections: Sequence[Injection]
    ) -> None:
        self.backbone, self.condition, self.levels, self.injections = backbone, condition, trajectory.levels, injections
        self.latents = trajectory.start
        self._sites = injection_sites(backbone.unet)

    def recording(self, step: int) -> Recording:
        below, above = self.levels.abars[step : step + 2]
        with recorded(self.backbone.unet, self._sites, self.injections[step]) as recording:
            noise = self.backbone.predict(self.latents, self.levels.timesteps[step], self.condition)
        self.latents = add_noise(clean_of(self.latents, noise, above), noise, below)
        return recording
