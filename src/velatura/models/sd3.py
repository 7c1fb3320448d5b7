"""Stable Diffusion 3 and 3.5 as a Backbone (Esser et al. 2024, arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from velatura.errors import SettingError
from velatura.models.backbone import Conditioning
from velatura.models.flow import TIMESTEPS, FlowBackbone


class SD3Backbone(FlowBackbone):
    """Stable Diffusion 3 or 3.5 (dual attention and normalised queries and keys are its transformer's own affair);
    the third text encoder, T5, may be missing.
    """

    patch = 2
    normalised_token_axis = 2  # (B, heads, N, d)

    def check_parts(self) -> None:
        """Raise ModelError for a VAE or text encoders of other widths than the transformer's."""
        config, pipeline = self.transformer.config, self.pipeline
        pooled = pipeline.text_encoder.config.projection_dim + pipeline.text_encoder_2.config.projection_dim
        sizes = {
            "patch": (config.patch_size, self.patch),
            "latent channels": (config.in_channels, self.latent_channels),
            "pooled text": (config.pooled_projection_dim, pooled),
        }
        if pipeline.text_encoder_3 is not None:
            sizes["text states"] = (config.joint_attention_dim, pipeline.text_encoder_3.config.d_model)
        self.check_sizes(sizes)

    def native_cells(self) -> int:
        """The side, in latent cells, of the pictures that it was trained on."""
        return int(self.transformer.config.sample_size)

    def velocity(self, mixed: Tensor, sigmas: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity in x_sigma (B, C, h, w) at ``sigmas`` (B,). Raises SettingError beyond its position table."""
        most = int(self.transformer.config.pos_embed_max_size) * self.multiple
        if max(mixed.shape[2:]) * self.factor > most:
            raise SettingError(f"The model {self.name} takes pictures of at most {most} px a side: lower --set size.")
        velocity: Tensor = self.transformer(
            mixed.to(self.dtype),
            encoder_hidden_states=conditioning.states.to(self.dtype),
            pooled_projections=conditioning.extra["pooled"].to(self.dtype),
            timestep=TIMESTEPS * sigmas,
        ).sample
        return velocity.float()

    def encoded(self, prompts: Sequence[str]) -> Conditioning:
        """The states (B, L, W) of prompts in all text encoders, and the pooled outputs of CLIP's two."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, None, device=self.device, do_classifier_free_guidance=False
        )
        return Conditioning(states.float(), {"pooled": pooled.float()})
