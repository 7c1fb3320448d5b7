"""Stable Diffusion 1.x and SDXL at their real shapes with random weights: what costs as much and needs no download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.backbone import Backbone, Conditioning
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone

RANDOM_SD, RANDOM_SDXL = "random-sd", "random-sdxl"
TOKENS = 77
SDXL_STATES, SDXL_POOLED = 2048, 1280
TIME_IDS = 6


class RandomSDXL(LatentBackbone):
    """SDXL's UNet and VAE; prompts are random states, because its text encoders are no part of what is measured."""

    def encode_prompt(self, prompts: Sequence[str], words: Tensor | None = None) -> Conditioning:
        """Seeded random states (B, 77, 2048), pooled states (B, 1280) and the native size as time ids (B, 6)."""
        generator, count, side = torch.Generator().manual_seed(0), len(prompts), float(self.native_size)
        states = torch.randn(count, TOKENS, SDXL_STATES, generator=generator).to(self.device)
        pooled = torch.randn(count, SDXL_POOLED, generator=generator).to(self.device)
        sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=self.device).expand(count, -1)
        return Conditioning(states, {"text_embeds": pooled, "time_ids": sizes})


def random_stable_diffusion(
    device: torch.device | None = None, dtype: torch.dtype = torch.float32, native_size: int = 512
) -> LatentBackbone:
    """Stable Diffusion 1.x with its text encoder and CLIP's ViT-L/14; the words are the house tokenizer's."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    device = device or torch.device("cpu")
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    shape = {"sample_size": native_size // 8, "cross_attention_dim": 768}  # the rest are diffusers' defaults
    torch.manual_seed(0)
    parts = SimpleNamespace(
        unet=random_network(lambda: UNet2DConditionModel(**shape), device, dtype),
        vae=random_network(random_vae, device),
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=49408, **text)),
        tokenizer=load_backbone("house", "cpu", "fp32").tokenizer,  # type: ignore[attr-defined]
        scheduler=scheduler(),
    )
    parts.text_encoder.to(device, dtype)
    return LatentBackbone(parts, RANDOM_SD, device, dtype, LazyClip(device))


def random_sdxl(
    device: torch.device | None = None, dtype: torch.dtype = torch.float32, native_size: int = 1024
) -> LatentBackbone:
    """SDXL's base model without its text encoders."""
    from diffusers import UNet2DConditionModel

    device = device or torch.device("cpu")
    shape: dict[str, Any] = {
        "sample_size": native_size // 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": SDXL_STATES,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": SDXL_POOLED + TIME_IDS * 256,
    }
    unet = random_network(lambda: UNet2DConditionModel(**shape), device, dtype)
    vae = random_network(random_vae, device)
    parts = SimpleNamespace(unet=unet, vae=vae, text_encoder=None, tokenizer=None, scheduler=scheduler())
    return RandomSDXL(parts, RANDOM_SDXL, device, dtype)


SHAPES: Mapping[str, Callable[[torch.device, torch.dtype], LatentBackbone]] = {
    RANDOM_SD: random_stable_diffusion,
    RANDOM_SDXL: random_sdxl,
}
# Parameters of UNet, VAE and text encoder in thousands of millions: a process that cannot hold them is not started.
BILLIONS: Mapping[str, float] = {RANDOM_SD: 1.07, RANDOM_SDXL: 2.65}


def load_any(model: str, device: torch.device, dtype: torch.dtype) -> Backbone:
    """A model by name, one of SHAPES with random weights among them."""
    return SHAPES[model](device, dtype) if model in SHAPES else load_backbone(model, str(device), dtype)


def random_network(
    build: Callable[[], nn.Module], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A network of ``build`` with seeded weights of deviation 1 / sqrt(inputs), and norms that change nothing.

    It is made in its number format on its device: an SDXL in fp32 first would take twice the memory of one in bf16.
    """
    with torch.device("meta"):
        network = build()
    network = network.to(dtype).to_empty(device=device or torch.device("cpu"))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.dim() > 1:
                weights.normal_(std=weights[0].numel() ** -0.5)
            else:
                weights.fill_(float(name.endswith("weight")))
    return network


def random_vae() -> nn.Module:
    """The shape of Stable Diffusion's and SDXL's autoencoder."""
    from diffusers import AutoencoderKL

    vae: nn.Module = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )
    return vae


def scheduler() -> Any:
    """Stable Diffusion's noise schedule."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)


class LazyClip:
    """CLIP's ViT-L/14 with random weights, made when a picture is first embedded: (B, 3, H, W) to (B, 768)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._network: Any = None

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        if self._network is None:
            self._network = self._made()
        squares = F.interpolate(pixels.to(self._device).float(), (224, 224), mode="bicubic", antialias=True)
        embeddings: Tensor = self._network(squares).image_embeds
        return F.normalize(embeddings)

    def _made(self) -> Any:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        torch.manual_seed(0)
        shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        config = CLIPVisionConfig(**shape, patch_size=14, projection_dim=768)
        return CLIPVisionModelWithProjection(config).eval().to(self._device)
