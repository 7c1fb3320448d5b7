"""One optimiser step of the house denoiser, and all that it changes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor

from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.training.band_losses import BANDS
from velatura.training.conditioning import Conditions
from velatura.training.denoiser import Denoiser, DenoiserRecipe, make_scheduler
from velatura.training.recolouring import recolouring_noise


class DenoiserRows(NamedTuple):
    """Clean ``latents`` (B, C, h, w) to be predicted, those that are ``shown`` where there is much noise (the same, or
    the content that was restyled into them), their ``timesteps`` (B,) and their conditions.
    """

    latents: Tensor
    shown: Tensor
    timesteps: Tensor
    conditions: Conditions


class DenoiserOptimisation:
    """The optimisation of a denoiser, on the accelerator's device, with a running average of its weights."""

    def __init__(
        self, model: Denoiser, vae: HouseAutoencoder, recipe: DenoiserRecipe, accelerator: Accelerator
    ) -> None:
        self.accelerator, self.model = accelerator, model
        self.trained: Any = model
        model.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.vae = vae.to(accelerator.device, memory_format=torch.channels_last).requires_grad_(False).eval()
        self.average = EMAModel(model.parameters(), decay=recipe.average_decay, use_ema_warmup=True, power=3 / 4)
        self.optimizer: Any = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2, betas=(0.9, 0.99), fused=True
        )
        self.scheduler = make_scheduler()
        self.abars = self.scheduler.alphas_cumprod.to(accelerator.device)
        self.losses = _LossByBand(len(self.abars))

    def restore(self, state: dict[str, Any]) -> int:
        """Take up a checkpoint; returns the steps that are done."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.average.to(self.accelerator.device)
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def prepare(self, compiled: bool = False) -> None:
        """Hand model and optimiser to the accelerator; the training pass may be ``compiled`` by torch."""
        self.trained, self.optimizer = self.accelerator.prepare(self.trained, self.optimizer)
        if compiled:
            self.trained = torch.compile(self.trained)

    def encoded(self, pixels: Tensor) -> Tensor:
        """Scaled latents (B, C, H/8, W/8) of pixels (B, 3, H, W) in [-1, 1]."""
        moved = pixels.to(self.vae.device, memory_format=torch.channels_last)
        with torch.no_grad(), self.accelerator.autocast():
            latents: Tensor = self.vae.encode(moved).latent_dist.mode().float() * self.vae.config.scaling_factor
        return latents

    def step(self, rows: DenoiserRows, learning_rate: float) -> None:
        """One optimiser step; mean squared error of v."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        latents, shown, timesteps, conditions = rows
        noise = recolouring_noise(torch.randn_like(latents), latents, shown, self.abars[timesteps])
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        with self.accelerator.autocast():
            predicted = self.trained(noisy, timesteps, conditions.ids, conditions.at, conditions.embeddings)
        target = self.scheduler.get_velocity(latents, noise, timesteps)
        losses = (predicted.float() - target).square().flatten(1).mean(1)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(losses.mean())
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.step(self.model.parameters())
        self.losses.add(timesteps, losses)

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, without the steps."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }


class _LossByBand:
    """Means of losses in ten bands of timesteps, kept on the device until they are asked for."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, timesteps: Tensor, losses: Tensor) -> None:
        """Keep losses (B,) at ``timesteps`` (B,)."""
        self.kept.append((timesteps, losses.detach()))

    def take(self) -> list[float | None]:
        """The means since the last call; None for a band without losses."""
        timesteps, losses = (torch.cat(parts).cpu() for parts in zip(*self.kept, strict=True))
        self.kept = []
        bands = timesteps * BANDS // self.timesteps
        found = [losses[bands == band] for band in range(BANDS)]
        return [round(band.mean().item(), 4) if len(band) else None for band in found]
