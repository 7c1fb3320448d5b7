"""A diffusers pipeline of the Stable Diffusion family as a Backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError, SettingError
from velatura.models.backbone import PLACEHOLDER, Conditioning, Prediction
from velatura.models.fingerprint import fingerprint
from velatura.models.noise_schedule import NoiseSchedule
from velatura.models.recommended import RecommendedSettings
from velatura.models.token_embeddings import token_embeddings_replaced
from velatura.models.unet_call import UNetAdapter, UNetCall, output_of
from velatura.models.unet_encoder import unet_encoder_maps
from velatura.models.vae_tiling import tiled_when_large

NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2", "image_encoder")


class LatentBackbone:
    """A frozen latent diffusion model: VAE, text encoder(s), UNet2DConditionModel and noise schedule.

    The UNet and the text encoder run in ``dtype``; latents, pixels and noise go in and out as float32.
    The VAE runs in float32: it is a small part of the work, and bf16 and fp16 show in its pictures.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        image_encoder: Callable[[Tensor], Tensor] | None = None,
        recommended_settings: RecommendedSettings | None = None,
    ) -> None:
        self.recommended_settings = recommended_settings or {}
        self.name, self.device, self.dtype = name, device, dtype
        self.pipeline = pipeline
        self.unet, self.vae, self.tokenizer = pipeline.unet, pipeline.vae, pipeline.tokenizer
        self.text_encoder, self.schedule = pipeline.text_encoder, NoiseSchedule.of_scheduler(pipeline.scheduler)
        blocks = self.vae.config.get("block_out_channels")
        self.factor = 2 ** (len(blocks) - 1) if blocks else 8
        self.latent_channels: int = self.unet.config.in_channels
        self.flat_channels: tuple[int, ...] = getattr(self.vae, "flat_channels", tuple(range(self.latent_channels)))
        self.native_size: int = self.unet.config.sample_size * self.factor
        self.multiple: int = self.factor
        self.evaluations = 0
        self._image_encoder = image_encoder
        self._adapters: tuple[UNetAdapter, ...] = ()
        for network in self.networks():
            network.requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.unet)

    def networks(self) -> list[Any]:
        """The trained parts, each a torch module."""
        return [part for part in (getattr(self.pipeline, name, None) for name in NETWORKS) if part is not None]

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents (B, C, H/f, W/f): the posterior's mean, or its sample with ``noise``."""
        with tiled_when_large(self.vae, pixels.shape[2] * pixels.shape[3]):
            posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype).contiguous()).latent_dist
        drawn: Tensor = posterior.mode() if noise is None else posterior.mean + posterior.std * noise.to(self.device)
        latents: Tensor = drawn.float() * self.vae.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of scaled latents, not clamped."""
        scaled = latents / self.vae.config.scaling_factor
        with tiled_when_large(self.vae, latents.shape[2] * latents.shape[3] * self.factor**2):
            pixels: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample.float()
        return pixels

    def predict(self, latents: Tensor, timestep: int | Tensor, conditioning: Conditioning) -> Prediction:
        """The noise in ``latents`` (B, C, h, w) at one timestep, or at one for each picture."""
        timesteps = torch.as_tensor(timestep, device=self.device).reshape(-1).expand(len(latents))
        conditioning = conditioning.expanded(len(latents))
        self.evaluations += len(latents)
        extra = {name: value.to(self.dtype) for name, value in conditioning.extra.items()}
        call = UNetCall(
            latents.to(self.dtype), timesteps, conditioning.states.to(self.dtype), {"added_cond_kwargs": extra}
        )
        output = output_of(self.unet, call, self._adapters).float()
        return Prediction(self.schedule.output_to_noise(output, latents, timesteps))

    @contextmanager
    def joined_by(self, adapters: Sequence[UNetAdapter]) -> Iterator[None]:
        """While open, ``adapters`` join the UNet's calls, after those that do already."""
        with self._with_adapters((*self._adapters, *adapters)):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While open, no adapters join the UNet's calls."""
        with self._with_adapters(()):
            yield

    @contextmanager
    def _with_adapters(self, adapters: tuple[UNetAdapter, ...]) -> Iterator[None]:
        before, self._adapters = self._adapters, adapters
        try:
            yield
        finally:
            self._adapters = before

    def unconditional(self) -> Conditioning:
        """The conditioning of the empty prompt."""
        return self.encode_prompt([""])

    def encoder_maps(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Five maps (B, C, h, w) of the UNet's encoder for clean latents, at timestep 0 and without a prompt."""
        conditioning = self.unconditional().expanded(len(latents))
        timesteps = torch.zeros(len(latents), device=self.device)
        hidden, states = latents.to(self.dtype), conditioning.states.to(self.dtype)
        embedding = self.unet.time_embedding(self.unet.get_time_embed(sample=hidden, timestep=timesteps))
        extra = {name: value.to(self.dtype) for name, value in conditioning.extra.items()}
        added = self.unet.get_aug_embed(emb=embedding, encoder_hidden_states=states, added_cond_kwargs=extra)
        return unet_encoder_maps(self.unet, embedding if added is None else embedding + added, hidden, states)

    def encode_prompt(self, prompts: Sequence[str], words: Tensor | None = None) -> Conditioning:
        """The text states (B, L, W) of prompts; token embeddings ``words`` (B, n, W) replace "*" where it occurs.

        Gradients reach ``words``. Raises SettingError for words without a "*" to replace.
        """
        if words is not None:
            missing = [prompt for prompt in prompts if PLACEHOLDER not in prompt]
            if missing:
                raise SettingError(
                    f"The prompt '{missing[0]}' lacks the placeholder {PLACEHOLDER}: "
                    f"write for example 'a painting in the style of {PLACEHOLDER}'."
                )
        if getattr(self.pipeline, "text_encoder_2", None) is not None:
            return self._encode_prompt_with_two_encoders(prompts, words)
        ids = self.token_ids(prompts, 1 if words is None else words.shape[1])
        if words is None:
            with torch.no_grad():
                return Conditioning(self.text_encoder(ids).last_hidden_state.float())
        vectors = words.to(self.device, self.dtype).expand(len(ids), -1, -1)
        with (
            torch.enable_grad() if vectors.requires_grad else torch.no_grad(),
            token_embeddings_replaced(self.text_encoder, ids == self.placeholder_id, vectors),
        ):
            return Conditioning(self.text_encoder(ids).last_hidden_state.float())

    def _encode_prompt_with_two_encoders(self, prompts: Sequence[str], words: Tensor | None) -> Conditioning:
        """SDXL: states of two encoders side by side, the second's pooled output, and size numbers."""
        if words is not None:
            raise ModelError(f"A picture as a word is not supported on {self.name} (two text encoders) yet.")
        with torch.no_grad():
            states, _, pooled, _ = self.pipeline.encode_prompt(
                list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
        side = float(self.native_size)
        sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=self.device).expand(len(prompts), -1)
        return Conditioning(states.float(), {"text_embeds": pooled.float(), "time_ids": sizes})

    @property
    def placeholder_id(self) -> int:
        """The token that "*" becomes when it stands alone."""
        return int(self.tokenizer.convert_tokens_to_ids(f"{PLACEHOLDER}</w>"))

    def token_ids(self, prompts: Sequence[str], count: int = 1) -> Tensor:
        """Token ids (B, L); each "*" becomes ``count`` placeholder tokens in a row."""
        spread = [prompt.replace(PLACEHOLDER, f" {' '.join([PLACEHOLDER] * count)} ") for prompt in prompts]
        length = self.tokenizer.model_max_length
        encoded = self.tokenizer(spread, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: Tensor = encoded.input_ids.to(self.device)
        return ids

    def token_embedding(self, text: str) -> Tensor:
        """The embedding (W,) of a text's first token."""
        first = self.tokenizer(text, add_special_tokens=False).input_ids[0]
        embedding: Tensor = self.text_encoder.get_input_embeddings().weight[first].detach().float()
        return embedding

    def word_width(self) -> int:
        """The length W of a token embedding."""
        width: int = self.text_encoder.get_input_embeddings().weight.shape[1]
        return width

    @property
    def image_encoder(self) -> Callable[[Tensor], Tensor]:
        """CLIP's image encoder, loaded when it is first asked for. Raises ModelError where it cannot be had."""
        if self._image_encoder is None:
            from velatura.models.encoders.clip import clip_image_encoder

            self._image_encoder = clip_image_encoder(self.name, self.device)
        return self._image_encoder

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """CLIP's normalised image embeddings (B, E) of pixels (B, 3, H, W)."""
        return self.image_encoder(pixels)
