"""An ADM as a Backbone: pixels are its latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from velatura.models.adm.architecture import AdmShape
from velatura.models.backbone import Conditioning, Prediction
from velatura.models.fingerprint import fingerprint
from velatura.models.noise_schedule import NoiseSchedule
from velatura.models.recommended import RecommendedSettings
from velatura.models.unet_encoder import unet_encoder_maps

BETAS: Mapping[str, tuple[str, float, float]] = {
    "linear": ("linear", 1e-4, 0.02),
    "cosine": ("squaredcos_cap_v2", 1e-4, 0.02),
}
DEFAULT_CLASS = 0  # of a class-conditional model, where no class is asked for


class PixelBackbone:
    """A frozen ADM (Dhariwal & Nichol 2021): pictures (B, 3, H, W) in [-1, 1] are their own latents.

    The network runs in ``dtype``; pictures and noise go in and out as float32. It takes no prompt; its conditioning is
    empty, or class numbers.
    """

    factor = 1
    latent_channels = 3
    flat_channels: tuple[int, ...] = (0, 1, 2)

    def __init__(self, unet: Any, shape: AdmShape, name: str, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import DDIMScheduler

        self.unet, self.shape, self.name, self.device, self.dtype = unet, shape, name, device, dtype
        self.multiple = 2 ** (len(shape.multipliers) - 1)
        self.native_size = shape.image_size
        kind, first, last = BETAS[shape.schedule]
        self.schedule = NoiseSchedule.of_scheduler(
            DDIMScheduler(beta_schedule=kind, beta_start=first, beta_end=last, clip_sample=False)
        )
        self.evaluations = 0
        self.recommended_settings: RecommendedSettings = {}
        self.fingerprint = fingerprint(unet)

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """The pixels themselves, in float32 on the model's device."""
        return pixels.to(self.device).float()

    def decode(self, latents: Tensor) -> Tensor:
        """The latents themselves."""
        return latents

    def predict(self, latents: Tensor, timestep: int | Tensor, conditioning: Conditioning) -> Prediction:
        """The noise in pictures (B, 3, H, W), and the logits of the learned variance."""
        timesteps = torch.as_tensor(timestep, device=self.device).reshape(-1).expand(len(latents))
        self.evaluations += len(latents)
        classes = conditioning.expanded(len(latents)).extra.get("classes")
        labels = None if classes is None else classes[:, 0].long()
        output: Tensor = self.unet(latents.to(self.dtype), timesteps, class_labels=labels).sample.float()
        noise, variance = output.chunk(2, dim=1)
        return Prediction(noise, variance)

    def unconditional(self) -> Conditioning:
        """An empty conditioning, or class 0 of a class-conditional model."""
        return self.encode_classes([DEFAULT_CLASS])

    def encode_classes(self, classes: Sequence[int]) -> Conditioning:
        """The conditioning of class numbers; empty where the model knows none."""
        states = torch.zeros(len(classes), 0, 0, device=self.device)
        if not self.shape.classes:
            return Conditioning(states)
        return Conditioning(states, {"classes": torch.tensor(classes, device=self.device)[:, None]})

    def encoder_maps(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Five maps (B, C, h, w) of the encoder for clean pictures, at timestep 0 (ZeCon's features)."""
        timesteps = torch.zeros(len(latents), device=self.device)
        embedding = self.unet.time_embedding(self.unet.time_proj(timesteps).to(self.dtype))
        if self.shape.classes:
            labels = torch.full((len(latents),), DEFAULT_CLASS, device=self.device)
            embedding = embedding + self.unet.class_embedding(labels)
        return unet_encoder_maps(self.unet, embedding, latents.to(self.dtype))
