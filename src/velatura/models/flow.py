"""A rectified-flow transformer of the Stable Diffusion 3 family as a Backbone.

Rectified flow (Liu et al. 2023; Esser et al. 2024) mixes x_sigma = (1 - sigma) x_0 + sigma eps, and its network
predicts the velocity v = eps - x_0. With c = sqrt((1 - sigma)^2 + sigma^2), x_sigma / c is variance preserving and has
abar = (1 - sigma)^2 / c^2. So the backbone has a NoiseSchedule of such abars and takes latents x_sigma / c: inversion,
samplers and losses on x_0 work on it as on any other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.backbone import Conditioning, Prediction
from velatura.models.fingerprint import fingerprint
from velatura.models.noise_schedule import NoiseSchedule
from velatura.models.recommended import RecommendedSettings

TIMESTEPS = 1000
NETWORKS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")


def flow_sigmas(shift: float) -> Tensor:
    """Noise shares sigma of 1000 levels, (1000,), float64, rising: shift s / (1 + (shift - 1) s) (Esser et al. 2024,
    eq. 23) of the middles s of 1000 equal parts of [0, 1], so that the last stays below 1.
    """
    even = (torch.arange(TIMESTEPS, dtype=torch.float64) + 0.5) / TIMESTEPS
    return shift * even / (1 + (shift - 1) * even)


def flow_scales(sigmas: Tensor) -> Tensor:
    """c = sqrt((1 - sigma)^2 + sigma^2): what x_sigma is divided by to preserve variance."""
    return ((1 - sigmas).square() + sigmas.square()).sqrt()


def flow_schedule(sigmas: Tensor) -> NoiseSchedule:
    """The variance-preserving schedule of rising ``sigmas``: abar = ((1 - sigma) / c)^2."""
    abars = ((1 - sigmas) / flow_scales(sigmas)).square()
    betas = 1 - abars / torch.cat([torch.ones(1, dtype=abars.dtype), abars[:-1]])
    return NoiseSchedule(abars, betas={"num_train_timesteps": len(abars), "trained_betas": betas.tolist()})


class FlowBackbone:
    """A frozen Stable Diffusion 3: VAE, text encoders (the third, T5, may be missing), transformer, flow schedule.

    The transformer and the text encoders run in ``dtype``, the VAE in float32; latents, pixels and noise go in and out
    as float32. Latents are variance preserving: x_sigma / c. It has no UNet and knows no pictures as words.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        recommended_settings: RecommendedSettings | None = None,
    ) -> None:
        self.recommended_settings = recommended_settings or {}
        self.pipeline, self.name, self.device, self.dtype = pipeline, name, device, dtype
        self.transformer, self.vae = pipeline.transformer, pipeline.vae
        self.sigmas = flow_sigmas(float(pipeline.scheduler.config.shift))
        self.schedule = flow_schedule(self.sigmas)
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.multiple: int = self.factor * self.transformer.config.patch_size
        self.latent_channels: int = self.transformer.config.in_channels
        self.flat_channels: tuple[int, ...] = tuple(range(self.latent_channels))
        self.native_size: int = self.transformer.config.sample_size * self.factor
        self.evaluations = 0
        for part in NETWORKS:
            network = getattr(pipeline, part)
            if network is not None:
                network.requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.transformer)

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents (B, C, H/f, W/f): the posterior's mean, or its sample with ``noise``."""
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype).contiguous()).latent_dist
        drawn: Tensor = posterior.mode() if noise is None else posterior.mean + posterior.std * noise.to(self.device)
        latents: Tensor = (drawn.float() - self._latent_mean) * self.vae.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of scaled latents, not clamped."""
        scaled = latents / self.vae.config.scaling_factor + self._latent_mean
        pixels: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample.float()
        return pixels

    @property
    def _latent_mean(self) -> float:
        return float(self.vae.config.shift_factor or 0)

    def predict(self, latents: Tensor, timestep: int | Tensor, conditioning: Conditioning) -> Prediction:
        """The noise in latents x_sigma / c (B, C, h, w), at one timestep 0..999 or at one for each picture.

        eps = x_sigma + (1 - sigma) v.
        """
        timesteps = torch.as_tensor(timestep).cpu().reshape(-1).expand(len(latents)).long()
        conditioning = conditioning.expanded(len(latents))
        self.evaluations += len(latents)
        sigmas = self.sigmas[timesteps]
        sigma, scale = (each.to(latents)[:, None, None, None] for each in (sigmas, flow_scales(sigmas)))
        mixed = scale * latents
        velocity = self.transformer(
            mixed.to(self.dtype),
            encoder_hidden_states=conditioning.states.to(self.dtype),
            pooled_projections=conditioning.extra["pooled"].to(self.dtype),
            timestep=(TIMESTEPS * sigmas).to(self.device, torch.float32),
        ).sample.float()
        return Prediction(mixed + (1 - sigma) * velocity)

    def unconditional(self) -> Conditioning:
        """The conditioning of the empty prompt."""
        return self.encode_prompt([""])

    def encode_prompt(self, prompts: Sequence[str], words: Tensor | None = None) -> Conditioning:
        """The states (B, L, W) of prompts in all text encoders, and their pooled outputs.

        Raises ModelError for ``words``.
        """
        if words is not None:
            raise self._no_words()
        with torch.no_grad():
            states, _, pooled, _ = self.pipeline.encode_prompt(
                list(prompts), None, None, device=self.device, do_classifier_free_guidance=False
            )
        return Conditioning(states.float(), {"pooled": pooled.float()})

    def token_embedding(self, text: str) -> Tensor:
        """Raises ModelError: there is no one embedding of a token in several text encoders."""
        raise self._no_words()

    def word_width(self) -> int:
        """Raises ModelError: there is no one width in several text encoders."""
        raise self._no_words()

    def _no_words(self) -> ModelError:
        return ModelError(f"A picture as a word is not supported on {self.name} (several text encoders) yet.")
