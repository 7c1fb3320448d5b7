"""Any diffusers pipeline of the Stable Diffusion family, or the house model, as a Backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError, SettingError
from velatura.models.advice import Advice
from velatura.models.backbone import PLACEHOLDER, Backbone, Condition
from velatura.models.encoder import encoder_maps
from velatura.models.fingerprint import fingerprint
from velatura.models.words import words_inserted

ImageEncoder = Callable[[Tensor], Tensor]


class LatentBackbone:
    """A frozen latent diffusion model: VAE, text encoder(s), UNet2DConditionModel and scheduler.

    The UNet and the text encoder run in ``dtype``; latents, pixels and noise go in and out as float32.
    The VAE runs in float32: it is a small part of the work, and bf16 and fp16 show in its pictures.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        image_encoder: ImageEncoder | None = None,
        advised: Advice | None = None,
    ) -> None:
        self.advised = advised or {}
        self.name, self.device, self.dtype = name, device, dtype
        self.pipeline = pipeline
        self.unet, self.vae, self.tokenizer = pipeline.unet, pipeline.vae, pipeline.tokenizer
        self.text_encoder, self.scheduler = pipeline.text_encoder, pipeline.scheduler
        blocks = self.vae.config.get("block_out_channels")
        self.factor = 2 ** (len(blocks) - 1) if blocks else 8
        self.latent_channels: int = self.unet.config.in_channels
        self.native_size: int = self.unet.config.sample_size * self.factor
        self.multiple: int = self.factor
        self.evaluations = 0
        self._image_encoder = image_encoder
        for network in self.networks():
            network.requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.unet)

    @property
    def word_width(self) -> int:
        """Length of a token embedding."""
        width: int = self.text_encoder.get_input_embeddings().weight.shape[1]
        return width

    def token_embedding(self, text: str) -> Tensor:
        """The embedding (width,) of a text's first token."""
        first = self.tokenizer(text, add_special_tokens=False).input_ids[0]
        embedding: Tensor = self.text_encoder.get_input_embeddings().weight[first].detach().float()
        return embedding

    def networks(self) -> list[Any]:
        """The trained parts, each a module."""
        parts = ("unet", "vae", "text_encoder", "text_encoder_2", "image_encoder")
        return [part for part in (getattr(self.pipeline, name, None) for name in parts) if part is not None]

    @property
    def alphas_cumprod(self) -> Tensor:
        alphas: Tensor = self.scheduler.alphas_cumprod.double()
        return alphas

    @property
    def has_house_eyes(self) -> bool:
        """Whether the folder brings its own image encoder with a learned picture word."""
        return getattr(self.pipeline, "image_encoder", None) is not None

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype).contiguous()).latent_dist
        drawn: Tensor = posterior.mode() if noise is None else posterior.mean + posterior.std * noise.to(self.device)
        latents: Tensor = drawn.float() * self.vae.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        scaled = latents / self.vae.config.scaling_factor
        pixels: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample.float()
        return pixels

    def predict(self, latents: Tensor, timestep: int | Tensor, condition: Condition) -> Tensor:
        times = torch.as_tensor(timestep, device=self.device).reshape(-1).expand(len(latents))
        condition = condition.expanded(len(latents))
        self.evaluations += len(latents)
        output = self.unet(
            latents.to(self.dtype),
            times,
            encoder_hidden_states=condition.states.to(self.dtype),
            added_cond_kwargs={name: value.to(self.dtype) for name, value in condition.extra.items()},
        ).sample.float()
        return self._as_noise(output, latents, times)

    def encoded(self, latents: Tensor) -> tuple[Tensor, ...]:
        """What the UNet's encoder makes of clean latents at timestep 0, without a text: five maps (B, C, h, w)."""
        condition, times = self.text([""]).expanded(len(latents)), torch.zeros(len(latents), device=self.device)
        hidden, states = latents.to(self.dtype), condition.states.to(self.dtype)
        embedding = self.unet.time_embedding(self.unet.get_time_embed(sample=hidden, timestep=times))
        extra = {name: value.to(self.dtype) for name, value in condition.extra.items()}
        added = self.unet.get_aug_embed(emb=embedding, encoder_hidden_states=states, added_cond_kwargs=extra)
        return encoder_maps(self.unet, embedding if added is None else embedding + added, hidden, states)

    def _as_noise(self, output: Tensor, latents: Tensor, times: Tensor) -> Tensor:
        """What the network says, as the noise it means (v = a eps - s x0; Salimans & Ho 2022)."""
        kind = self.scheduler.config.prediction_type
        if kind == "epsilon":
            return output
        abar = self.alphas_cumprod.to(output.device)[times.long()].float()[:, None, None, None]
        if kind == "v_prediction":
            return abar.sqrt() * output + (1 - abar).sqrt() * latents
        if kind == "sample":
            return (latents - abar.sqrt() * output) / (1 - abar).sqrt()
        raise ModelError(f"The model {self.name} predicts '{kind}', which is not supported: use eps or v models.")

    def text(self, prompts: Sequence[str], words: Tensor | None = None) -> Condition:
        if words is not None:
            missing = [prompt for prompt in prompts if PLACEHOLDER not in prompt]
            if missing:
                raise SettingError(
                    f"The prompt '{missing[0]}' lacks the placeholder {PLACEHOLDER}: "
                    f"write for example 'a painting in the style of {PLACEHOLDER}'."
                )
        if getattr(self.pipeline, "text_encoder_2", None) is not None:
            return self._text_of_two_encoders(prompts, words)
        ids = self.token_ids(prompts, 1 if words is None else words.shape[1])
        at = ids == self.placeholder_id
        vectors = None if words is None else words.to(self.device, self.dtype).expand(len(ids), -1, -1)
        with torch.no_grad() if vectors is None or not vectors.requires_grad else torch.enable_grad():
            if vectors is None:
                states = self.text_encoder(ids).last_hidden_state
            else:
                with words_inserted(self.text_encoder, at, vectors):
                    states = self.text_encoder(ids).last_hidden_state
        return Condition(states.float())

    @property
    def placeholder_id(self) -> int:
        """The token that "*" is cut into when it stands alone."""
        return int(self.tokenizer.convert_tokens_to_ids(f"{PLACEHOLDER}</w>"))

    def token_ids(self, prompts: Sequence[str], count: int = 1) -> Tensor:
        """Token ids (B, L); each "*" becomes ``count`` placeholder tokens in a row."""
        spread = [prompt.replace(PLACEHOLDER, f" {' '.join([PLACEHOLDER] * count)} ") for prompt in prompts]
        length = self.tokenizer.model_max_length
        encoded = self.tokenizer(spread, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: Tensor = encoded.input_ids.to(self.device)
        return ids

    def _text_of_two_encoders(self, prompts: Sequence[str], words: Tensor | None) -> Condition:
        """SDXL: states of two encoders side by side, the second's pooled output, and size numbers."""
        if words is not None:
            raise ModelError(f"A picture as a word is not supported on {self.name} (two text encoders) yet.")
        with torch.no_grad():
            states, _, pooled, _ = self.pipeline.encode_prompt(
                list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
        side = float(self.native_size)
        sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=self.device).expand(len(prompts), -1)
        return Condition(states.float(), {"text_embeds": pooled.float(), "time_ids": sizes})

    @torch.no_grad()
    def see(self, pixels: Tensor) -> Tensor:
        if self.has_house_eyes:
            from velatura.models.house.image_encoder import picture_numbers

            encoder = self.pipeline.image_encoder
            seen: Tensor = encoder.standardise(picture_numbers(pixels.to(self.device), _efficientnet(self.device)))
            return seen.float()
        return self.image_encoder(pixels)

    @property
    def image_encoder(self) -> ImageEncoder:
        """CLIP's image encoder, loaded when it is first asked for. Raises ModelError where it cannot be had."""
        if self._image_encoder is None:
            from velatura.models.clip import clip_image_encoder

            self._image_encoder = clip_image_encoder(self.name, self.device)
        return self._image_encoder

    @torch.no_grad()
    def word_of(self, embeddings: Tensor) -> Tensor | None:
        if not self.has_house_eyes:
            return None
        from velatura.models.house.image_encoder import style_part

        encoder = self.pipeline.image_encoder
        words: Tensor = encoder(style_part(embeddings).to(encoder.dtype)).float()
        return words[:, None]

    def style_word(self, pixels: Tensor) -> Tensor | None:
        return self.word_of(self.see(pixels)) if self.has_house_eyes else None


def only_latent(backbone: Backbone, method: str) -> LatentBackbone:
    """The backbone, for a method that goes with latent models only. Raises ModelError for another."""
    if not isinstance(backbone, LatentBackbone):
        raise ModelError(f"The model {backbone.name} works on pixels: {method} needs a latent model, or use guided.")
    return backbone


def _efficientnet(device: torch.device) -> Any:
    from velatura.models.efficientnet import efficientnet_lite0

    return efficientnet_lite0(device)
