"""FLUX.1 as a Backbone (Black Forest Labs 2024): a rectified-flow transformer over packed latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.errors import ModelError
from velatura.models.backbone import Conditioning
from velatura.models.flow import FlowBackbone

# Its guidance is a number that was distilled into the network; 1 is the prompt's own prediction, without any. Methods
# extrapolate from the empty prompt themselves (``guidance_scale``), as on other models.
EMBEDDED_GUIDANCE = 1.0
LONGEST_PROMPT, LONGEST_PROMPT_DISTILLED = 512, 256  # tokens of T5 that dev and schnell were trained on


def packed(latents: Tensor, patch: int) -> Tensor:
    """Tokens (B, h/p w/p, C p p) of latents (B, C, h, w): row by row, each a patch of p x p cells, channels first."""
    return F.pixel_unshuffle(latents, patch).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The latents (B, C, h, w) of ``packed`` tokens; ``grid`` is (h, w)."""
    patches = tokens.transpose(1, 2).reshape(len(tokens), -1, grid[0] // patch, grid[1] // patch)
    return F.pixel_shuffle(patches, patch)


def image_positions(rows: int, columns: int) -> Tensor:
    """The positions (rows * columns, 3) of image tokens: 0, row, column. Text tokens stand at (0, 0, 0)."""
    return torch.cartesian_prod(torch.arange(1), torch.arange(rows), torch.arange(columns)).float()


class FluxBackbone(FlowBackbone):
    """FLUX.1 dev or schnell, with both text encoders: CLIP's pooled output and T5's states.

    Its latents are those of the VAE (B, C, h, w); they are packed for the transformer only.
    """

    patch = 2
    normalised_token_axis = 1  # (B, N, heads, d)

    def check_parts(self) -> None:
        """Raise ModelError for the editing models, and for a VAE or text encoders of other widths."""
        config, pipeline = self.transformer.config, self.pipeline
        if config.out_channels not in (None, config.in_channels):
            raise ModelError(
                f"The transformer of {self.name} takes {config.in_channels} channels and returns "
                f"{config.out_channels}: use FLUX.1 dev or schnell, not its models for filling or for control pictures."
            )
        self.check_sizes(
            {
                "packed latent channels": (config.in_channels, self.patch**2 * self.latent_channels),
                "pooled text": (config.pooled_projection_dim, pipeline.text_encoder.config.hidden_size),
                "text states": (config.joint_attention_dim, pipeline.text_encoder_2.config.d_model),
            }
        )

    def native_cells(self) -> int:
        """The side, in latent cells, of the pictures that diffusers' pipeline makes by default: 1024 px."""
        return int(self.pipeline.default_sample_size)

    def velocity(self, mixed: Tensor, sigmas: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity in x_sigma (B, C, h, w) at ``sigmas`` (B,)."""
        states, grid = conditioning.states.to(self.dtype), (mixed.shape[2], mixed.shape[3])
        positions = image_positions(grid[0] // self.patch, grid[1] // self.patch)
        tokens: Tensor = self.transformer(
            packed(mixed, self.patch).to(self.dtype),
            encoder_hidden_states=states,
            pooled_projections=conditioning.extra["pooled"].to(self.dtype),
            timestep=sigmas,
            img_ids=positions.to(self.device),
            txt_ids=torch.zeros(states.shape[1], 3, device=self.device),
            **self._guidance(len(mixed)),
        ).sample
        return unpacked(tokens.float(), grid, self.patch)

    def _guidance(self, count: int) -> dict[str, Any]:
        if not self.transformer.config.guidance_embeds:
            return {}
        return {"guidance": torch.full((count,), EMBEDDED_GUIDANCE, device=self.device)}

    def encoded(self, prompts: Sequence[str]) -> Conditioning:
        """T5's states (B, L, W) of prompts, and CLIP's pooled output."""
        longest = LONGEST_PROMPT if self.transformer.config.guidance_embeds else LONGEST_PROMPT_DISTILLED
        states, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, device=self.device, max_sequence_length=longest
        )
        return Conditioning(states.float(), {"pooled": pooled.float()})
