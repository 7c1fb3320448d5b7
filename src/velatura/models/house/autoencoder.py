"""The house autoencoder: a fixed block DCT with a learned residual on both sides, 8 channels at factor 8."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 8
LUMA, CHROMA = 4, 2  # coefficients kept of each plane and block
CHANNELS = LUMA + 2 * CHROMA
# Rows: luma and the two colour differences of ITU-R BT.601, for values centred on zero.
RGB_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
ZIGZAG = ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 2))


def dct_basis() -> Tensor:
    """The orthonormal 8-point DCT-II, (8, 8): rows are frequencies, columns positions."""
    position = torch.arange(BLOCK, dtype=torch.float64) + 0.5
    frequency = torch.arange(BLOCK, dtype=torch.float64)[:, None]
    basis = torch.cos(math.pi / BLOCK * frequency * position) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis


def dct_kernels(luma: int, chroma: int) -> tuple[Tensor, Tensor]:
    """Kernels (luma + 2 chroma, 3, 8, 8) that analyse RGB into, and synthesise it from, kept coefficients."""
    basis, colour = dct_basis(), torch.tensor(RGB_TO_YCBCR, dtype=torch.float64)
    kept = [(plane, cell) for plane, count in enumerate((luma, chroma, chroma)) for cell in ZIGZAG[:count]]
    patches = torch.stack([torch.outer(basis[v], basis[u]) for _, (v, u) in kept])
    planes = torch.tensor([plane for plane, _ in kept])
    analysis = colour[planes][:, :, None, None] * patches[:, None]
    synthesis = torch.linalg.inv(colour).T[planes][:, :, None, None] * patches[:, None]
    return analysis.float(), synthesis.float()


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))): keeps shape (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = x + self.second(F.silu(self.first(F.silu(x))))
        return residual


def residuals(channels: int, count: int) -> list[nn.Module]:
    """``count`` residual blocks, each the identity before training."""
    return [Residual(channels) for _ in range(count)]


class HouseAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pixels (B, 3, H, W) in [-1, 1], sides multiples of 8, to latents (B, 8, H/8, W/8) and back.

    latents = scaled DCT + encoder(pixels); pixels = inverse DCT + decoder(latents).
    The posterior has no spread: ``mode()`` and ``sample()`` are the same. ``block_out_channels`` are widths from
    full resolution to an eighth, as in other diffusers autoencoders; nothing works above a quarter here.
    ``flat_channels`` are the means of the blocks: any other channel that is constant is a grid of 8 px.
    """

    flat_channels = (0, LUMA, LUMA + CHROMA)

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (64, 64, 64, 96),
        encoder_blocks: int = 2,
        decoder_blocks: int = 6,
        deep_blocks: int = 2,
        scaling_factor: float = 1.0,
        latent_channels: int = CHANNELS,
    ) -> None:
        super().__init__()
        width, deep_width = block_out_channels[-2:]
        if latent_channels != CHANNELS:
            raise ValueError(f"latent_channels is {latent_channels}, but the DCT keeps {CHANNELS} coefficients")
        analysis, synthesis = dct_kernels(LUMA, CHROMA)
        self.register_buffer("analysis", analysis)
        self.register_buffer("synthesis", synthesis)
        self.register_buffer("coefficient_scale", torch.ones(CHANNELS))
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, width, 3, padding=1),
            *residuals(width, encoder_blocks),
            nn.Conv2d(width, deep_width, 4, stride=2, padding=1),
            *residuals(deep_width, deep_blocks),
            nn.SiLU(),
            nn.Conv2d(deep_width, CHANNELS, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, deep_width, 3, padding=1),
            *residuals(deep_width, deep_blocks),
            nn.Conv2d(deep_width, width * 4, 3, padding=1),
            nn.PixelShuffle(2),
            *residuals(width, decoder_blocks),
            nn.SiLU(),
            nn.Conv2d(width, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """The posterior of latents (B, 8, H/8, W/8) of pixels ``x``; as a tuple without ``return_dict``."""
        posterior = self.posterior(x)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def posterior(self, pixels: Tensor) -> DiagonalGaussianDistribution:
        """The posterior of latents (B, 8, H/8, W/8) of pixels (B, 3, H, W)."""
        coefficients = F.conv2d(pixels, self.analysis, stride=BLOCK) * self.coefficient_scale[:, None, None]
        mean = coefficients + self.encoder(pixels)
        moments = torch.cat([mean, torch.zeros_like(mean)], dim=1)
        return DiagonalGaussianDistribution(moments, deterministic=True)

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def decode(self, z: Tensor, return_dict: bool = True, generator: Any = None) -> DecoderOutput:
        """Pixels (B, 3, H, W), not clamped, of latents ``z``; as a tuple without ``return_dict``. ``generator`` is not
        used: nothing is drawn.
        """
        coefficients = z / self.coefficient_scale[:, None, None]
        pixels = F.conv_transpose2d(coefficients, self.synthesis, stride=BLOCK) + self.decoder(z)
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)

    def forward(self, sample: Tensor, return_dict: bool = True) -> DecoderOutput:
        """Pixels encoded and decoded again."""
        return self.decode(self.posterior(sample).mode(), return_dict)
