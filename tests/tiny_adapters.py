"""Models in the block layouts of Stable Diffusion 1.5 and XL, and adapters in their published layouts: tiny, random."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from velatura.models.house.vocabulary import build_tokenizer

EMBEDDING, HIDDEN, TOKENS = 24, 32, 4  # 1024, 1280 and 4 of the published ones


def text_config(**more: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
        pad_token_id=1,
        eos_token_id=2,
        **more,
    )


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
    )


def save_sd(folder: Path, unet: UNet2DConditionModel, text: CLIPTextConfig) -> Path:
    """A Stable Diffusion 1 pipeline around a UNet, with PNDM, as it is published."""
    StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(text),
        tokenizer=build_tokenizer(["a painting in the style of *"], 600),
        unet=unet,
        scheduler=PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_sd15(folder: Path) -> Path:
    """A pipeline with the blocks of Stable Diffusion 1.5, whose UNet has 16 cross-attentions."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        attention_head_dim=2,
        cross_attention_dim=32,
    )
    return save_sd(folder, unet, text_config())


def save_sdxl(folder: Path) -> Path:
    """A pipeline with the blocks of Stable Diffusion XL."""
    from diffusers import EulerDiscreteScheduler

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
    )
    tokenizer = build_tokenizer(["a painting in the style of *"], 600)
    StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(text_config()),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    ).save_pretrained(folder)
    return folder


def ip_adapter_tensors(unet: Any, plus: bool = False) -> dict[str, Tensor]:
    """The tensors of ip-adapter_sd15.safetensors (or, ``plus``, ip-adapter-plus_sd15.safetensors) for a UNet."""
    torch.manual_seed(1)
    width = unet.config.cross_attention_dim
    projection = _plus_projection(width) if plus else _projection(width)
    tensors = {f"image_proj.{name}": value for name, value in projection.items()}
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(crossing):
        inner = unet.get_submodule(name.removesuffix(".processor")).inner_kv_dim
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * number + 1}.{part}.weight"] = torch.randn(inner, width)
    return tensors


def _projection(width: int) -> dict[str, Tensor]:
    return {
        "proj.weight": torch.randn(TOKENS * width, EMBEDDING),
        "proj.bias": torch.randn(TOKENS * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }


def _plus_projection(width: int) -> dict[str, Tensor]:
    """IP-Adapter Plus: a resampler of four layers, with 64 numbers a head as the published one."""
    inner = 64
    tensors = {
        "latents": torch.randn(1, TOKENS, inner),
        "proj_in.weight": torch.randn(inner, HIDDEN),
        "proj_in.bias": torch.randn(inner),
        "proj_out.weight": torch.randn(width, inner),
        "proj_out.bias": torch.randn(width),
        "norm_out.weight": torch.ones(width),
        "norm_out.bias": torch.zeros(width),
    }
    for layer in (f"layers.{number}" for number in range(4)):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            tensors |= {f"{layer}.{norm}.weight": torch.ones(inner), f"{layer}.{norm}.bias": torch.zeros(inner)}
        tensors |= {
            f"{layer}.0.to_q.weight": torch.randn(inner, inner),
            f"{layer}.0.to_kv.weight": torch.randn(2 * inner, inner),
            f"{layer}.0.to_out.weight": torch.randn(inner, inner),
            f"{layer}.1.1.weight": torch.randn(4 * inner, inner),
            f"{layer}.1.3.weight": torch.randn(inner, 4 * inner),
        }
    return tensors


def nested(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The same tensors as the published .bin files have them."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def save_image_encoder(folder: Path, embedding: int = EMBEDDING) -> Path:
    """A CLIP vision tower, as the published ``image_encoder`` folders hold one."""
    torch.manual_seed(2)
    config = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=embedding,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def save_ip_adapter(folder: Path, unet: Any, name: str = "ip-adapter_sd15.safetensors", plus: bool = False) -> Path:
    """An IP-Adapter's file with its image encoder beside it; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = ip_adapter_tensors(unet, plus)
    if name.endswith(".bin"):
        torch.save(nested(tensors), folder / name)
    else:
        save_file(tensors, folder / name)
    save_image_encoder(folder / "image_encoder")
    return folder / name


def weights_of(module: Any) -> Iterator[tuple[str, Tensor]]:
    """Names and copies of a network's weights."""
    return ((name, value.clone()) for name, value in module.state_dict().items())


def save_controlnet(folder: Path, unet: Any) -> Path:
    """A ControlNet for a UNet as diffusers saves one, with weights where a trained one has them (a new one adds 0)."""
    torch.manual_seed(3)
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    for name, value in network.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")):
            value.data = 0.2 * torch.randn_like(value)
    network.save_pretrained(folder)
    return folder


def kohya_lora(unet: Any, rank: int = 2) -> dict[str, Tensor]:
    """A LoRA in the layout of lcm-lora-sdv1-5: kohya's, of attentions and of convolutions, with alphas."""
    torch.manual_seed(4)
    tensors: dict[str, Tensor] = {}
    modules = {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
        "up_blocks.1.resnets.0.conv1",
        "up_blocks.1.resnets.0.time_emb_proj",
    }
    for name in sorted(modules):
        weight, key = unet.get_submodule(name).weight, "lora_unet_" + name.replace(".", "_")
        down = (rank, *weight.shape[1:])
        tensors[f"{key}.lora_down.weight"] = torch.randn(down)
        tensors[f"{key}.lora_up.weight"] = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2))
        tensors[f"{key}.alpha"] = torch.tensor(float(rank))
    return tensors
