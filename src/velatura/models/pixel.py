"""An ADM as a Backbone: pixels are its latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.adm import AdmShape
from velatura.models.advice import Advice
from velatura.models.backbone import Condition
from velatura.models.encoder import encoder_maps
from velatura.models.fingerprint import fingerprint

BETAS: Mapping[str, tuple[str, float, float]] = {
    "linear": ("linear", 1e-4, 0.02),
    "cosine": ("squaredcos_cap_v2", 1e-4, 0.02),
}
NO_CLASS = 0  # what a class-conditional model is told where nothing is asked for


class PixelBackbone:
    """A frozen ADM (Dhariwal & Nichol 2021). Pictures (B, 3, H, W) in [-1, 1] are their own latents.

    The network runs in ``dtype``; pictures and noise go in and out as float32. It knows no text: its conditions are
    empty, or class numbers. Raises ModelError where a method asks for what it lacks.
    """

    factor = 1
    latent_channels = 3

    def __init__(self, unet: Any, shape: AdmShape, name: str, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import DDIMScheduler

        self.unet, self.shape, self.name, self.device, self.dtype = unet, shape, name, device, dtype
        self.multiple = 2 ** (len(shape.multipliers) - 1)
        self.native_size = shape.image_size
        kind, first, last = BETAS[shape.schedule]
        self.scheduler = DDIMScheduler(
            beta_schedule=kind, beta_start=first, beta_end=last, clip_sample=False, set_alpha_to_one=False
        )
        self.evaluations = 0
        self.advised: Advice = {}
        self.variance_logits: Tensor | None = None  # of the last prediction
        self.fingerprint = fingerprint(unet)

    @property
    def alphas_cumprod(self) -> Tensor:
        alphas: Tensor = self.scheduler.alphas_cumprod.double()
        return alphas

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        return pixels.to(self.device).float()

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def predict(self, latents: Tensor, timestep: int | Tensor, condition: Condition) -> Tensor:
        noise, logits = self.noise_and_variance(latents, timestep, condition)
        self.variance_logits = logits.detach()
        return noise

    def noise_and_variance(
        self, latents: Tensor, timestep: int | Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """The noise, and the logits v in [-1, 1] of the learned variance, each (B, 3, H, W)."""
        times = torch.as_tensor(timestep, device=self.device).reshape(-1).expand(len(latents))
        self.evaluations += len(latents)
        classes = condition.expanded(len(latents)).extra.get("classes")
        labels = None if classes is None else classes[:, 0].long()
        output: Tensor = self.unet(latents.to(self.dtype), times, class_labels=labels).sample.float()
        noise, variance = output.chunk(2, dim=1)
        return noise, variance

    def last_variance(self) -> Tensor:
        """v in [-1, 1], (B, 3, H, W), of the last prediction. Raises ModelError before the first."""
        if self.variance_logits is None:
            raise ModelError(f"The model {self.name} has not predicted anything yet.")
        return self.variance_logits

    def encoded(self, latents: Tensor) -> tuple[Tensor, ...]:
        """What the encoder makes of pictures at timestep 0: five maps (B, C, h, w) (ZeCon's features)."""
        times = torch.zeros(len(latents), device=self.device)
        embedding = self.unet.time_embedding(self.unet.time_proj(times).to(self.dtype))
        if self.shape.classes:
            labels = torch.full((len(latents),), NO_CLASS, device=self.device)
            embedding = embedding + self.unet.class_embedding(labels)
        return encoder_maps(self.unet, embedding, latents.to(self.dtype))

    def text(self, prompts: Sequence[str], words: Tensor | None = None) -> Condition:
        """No text: an empty condition, or class 0 of a class-conditional model."""
        if words is not None:
            raise self._lacks("words of pictures")
        return self.of_classes([NO_CLASS] * len(prompts))

    def of_classes(self, classes: Sequence[int]) -> Condition:
        """The condition of class numbers; empty where the model knows none."""
        states = torch.zeros(len(classes), 0, 0, device=self.device)
        if not self.shape.classes:
            return Condition(states)
        return Condition(states, {"classes": torch.tensor(classes, device=self.device)[:, None]})

    def see(self, pixels: Tensor) -> Tensor:
        raise self._lacks("an image encoder")

    @property
    def word_width(self) -> int:
        raise self._lacks("words")

    def token_embedding(self, text: str) -> Tensor:
        raise self._lacks("words")

    def word_of(self, embeddings: Tensor) -> Tensor | None:
        return None

    def style_word(self, pixels: Tensor) -> Tensor | None:
        return None

    def _lacks(self, what: str) -> ModelError:
        return ModelError(f"The model {self.name} works on pixels and has not {what}: use --method guided with it.")
