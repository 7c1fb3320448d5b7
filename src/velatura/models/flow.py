"""Rectified-flow transformers as Backbones: what Stable Diffusion 3 and FLUX share.

Rectified flow (Liu et al. 2023; Esser et al. 2024) mixes x_sigma = (1 - sigma) x_0 + sigma eps, and its network
predicts the velocity v = eps - x_0. With c = sqrt((1 - sigma)^2 + sigma^2), x_sigma / c is variance preserving and has
abar = (1 - sigma)^2 / c^2. So the backbone has a NoiseSchedule of such abars and takes latents x_sigma / c: inversion,
samplers and losses on x_0 work on it as on any other model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.backbone import Conditioning, Prediction
from velatura.models.fingerprint import fingerprint
from velatura.models.noise_schedule import NoiseSchedule
from velatura.models.recommended import RecommendedSettings
from velatura.models.vae_tiling import tiled_when_large

TIMESTEPS = 1000
NETWORKS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
# FLUX's constants (BFL 2024), which diffusers' configurations repeat: image tokens and the log shift at either end.
DYNAMIC_SHIFT: Mapping[str, float] = {
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "base_shift": 0.5,
    "max_shift": 1.15,
}


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
    return NoiseSchedule(abars, "flow", betas={"num_train_timesteps": len(abars), "trained_betas": betas.tolist()})


def flow_shift(settings: Mapping[str, Any], tokens: int) -> float:
    """The shift of a FlowMatchEulerDiscreteScheduler's ``settings`` for pictures of so many image ``tokens``.

    With ``use_dynamic_shifting`` its logarithm (or, for "linear", it itself) is linear in the tokens.
    """
    if not settings.get("use_dynamic_shifting"):
        return float(settings["shift"])
    first, last, low, high = (float(settings.get(name) or usual) for name, usual in DYNAMIC_SHIFT.items())
    mu = low + (high - low) * (tokens - first) / (last - first)
    return mu if settings.get("time_shift_type") == "linear" else math.exp(mu)


class FlowBackbone(ABC):
    """A frozen rectified-flow transformer with its VAE and text encoders; a model's own class says how it is called.

    The transformer and the text encoders run in ``dtype``, the VAE in float32; latents, pixels and noise go in and out
    as float32. Latents are variance preserving: x_sigma / c. It has no UNet and knows no pictures as words.
    The noise levels are those of pictures of the native size. Raises ModelError for parts that do not fit together.
    """

    patch: ClassVar[int]  # latent cells of an image token's side
    normalised_token_axis: int
    transformer: Any

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
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.multiple: int = self.factor * self.patch
        self.latent_channels: int = self.vae.config.latent_channels
        self.flat_channels: tuple[int, ...] = tuple(range(self.latent_channels))
        self.check_parts()
        self.native_size: int = self.native_cells() * self.factor
        tokens = (self.native_cells() // self.patch) ** 2
        self.sigmas = flow_sigmas(flow_shift(pipeline.scheduler.config, tokens))
        self.schedule = flow_schedule(self.sigmas)
        self.evaluations = 0
        for part in NETWORKS:
            network = getattr(pipeline, part, None)
            if network is not None:
                network.requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.transformer)

    @abstractmethod
    def check_parts(self) -> None:
        """Raise ModelError, in one sentence, for a transformer that the VAE or the text encoders do not fit."""

    @abstractmethod
    def native_cells(self) -> int:
        """The side, in latent cells, of the pictures that it was trained on."""

    @abstractmethod
    def velocity(self, mixed: Tensor, sigmas: Tensor, conditioning: Conditioning) -> Tensor:
        """The transformer's velocity v = eps - x_0 in x_sigma (B, C, h, w) at noise shares ``sigmas`` (B,)."""

    @abstractmethod
    def encoded(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of prompts, in float32."""

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents (B, C, H/f, W/f): the posterior's mean, or its sample with ``noise``."""
        with tiled_when_large(self.vae, pixels.shape[2] * pixels.shape[3]):
            posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype).contiguous()).latent_dist
        drawn: Tensor = posterior.mode() if noise is None else posterior.mean + posterior.std * noise.to(self.device)
        latents: Tensor = (drawn.float() - self._latent_mean) * self.vae.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of scaled latents, not clamped."""
        scaled = latents / self.vae.config.scaling_factor + self._latent_mean
        with tiled_when_large(self.vae, latents.shape[2] * latents.shape[3] * self.factor**2):
            pixels: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample.float()
        return pixels

    @property
    def _latent_mean(self) -> float:
        return float(self.vae.config.shift_factor or 0)

    def image_tokens(self, grid: tuple[int, int]) -> int:
        """How many image tokens latents of (height, width) cells are."""
        return (grid[0] // self.patch) * (grid[1] // self.patch)

    def predict(self, latents: Tensor, timestep: int | Tensor, conditioning: Conditioning) -> Prediction:
        """The noise in latents x_sigma / c (B, C, h, w), at one timestep 0..999 or at one for each picture."""
        timesteps = torch.as_tensor(timestep).cpu().reshape(-1).expand(len(latents)).long()
        self.evaluations += len(latents)
        sigmas = self.sigmas[timesteps]
        mixed = flow_scales(sigmas).to(latents)[:, None, None, None] * latents
        shares = sigmas.to(self.device, torch.float32)
        velocity = self.velocity(mixed, shares, conditioning.expanded(len(latents)))
        return Prediction(self.schedule.output_to_noise(velocity, latents, timesteps))

    def unconditional(self) -> Conditioning:
        """The conditioning of the empty prompt."""
        return self.encode_prompt([""])

    def encode_prompt(self, prompts: Sequence[str], words: Tensor | None = None) -> Conditioning:
        """The states (B, L, W) of prompts and their pooled output. Raises ModelError for ``words``."""
        if words is not None:
            raise self._no_words()
        with torch.no_grad():
            return self.encoded(prompts)

    def token_embedding(self, text: str) -> Tensor:
        """Raises ModelError: there is no one embedding of a token in several text encoders."""
        raise self._no_words()

    def word_width(self) -> int:
        """Raises ModelError: there is no one width in several text encoders."""
        raise self._no_words()

    def _no_words(self) -> ModelError:
        return ModelError(f"A picture as a word is not supported on {self.name} (several text encoders) yet.")

    def check_sizes(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Raise ModelError for ``sizes`` by what they are, each (the transformer's, the other part's), that differ."""
        for what, (own, other) in sizes.items():
            if own != other:
                raise ModelError(
                    f"The parts of {self.name} do not fit together ({what}: {own} in the transformer, {other} beside "
                    "it): get the whole folder again."
                )
