"""Rectified-flow pipelines with tiny random weights, as diffusers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from velatura.models.flow import FlowBackbone
from velatura.models.house.vocabulary import build_tokenizer
from velatura.models.loading.load import load_backbone

WIDTH = 32
# What Stable Diffusion 3.5 medium's transformer adds: normalised queries and keys, a second attention in some blocks.
SD35 = {"qk_norm": "rms_norm", "dual_attention_layers": (0,)}
# The scheduler of FLUX.1 dev; schnell's has shift 1 and no dynamic shifting.
FLUX_DEV = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}


def tiny_vae(**changed: Any) -> AutoencoderKL:
    """A VAE of 8 px a cell without the layers that these models' VAEs do without."""
    config = {
        "block_out_channels": (32, 32, 32, 32),
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": 4,
        "shift_factor": 0.0609,
        "scaling_factor": 1.5305,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return AutoencoderKL(**{**config, **changed})


def tiny_clip_text(cls: type[Any]) -> Any:
    """A CLIP text encoder of one of transformers' classes."""
    return cls(
        CLIPTextConfig(
            vocab_size=600,
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=WIDTH,
            pad_token_id=1,
            eos_token_id=2,
        )
    )


def tiny_t5(width: int = 2 * WIDTH) -> T5EncoderModel:
    """A T5 encoder."""
    return T5EncoderModel(
        T5Config(vocab_size=600, d_model=width, d_kv=8, d_ff=64, num_layers=1, num_heads=2, use_cache=False)
    )


def tiny_t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer of letters."""
    letters = [(each, -5.0) for each in "abcdefghijklmnopqrstuvwxyz*"]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters], extra_ids=0)


def tiny_clip_tokenizer() -> Any:
    """A CLIP tokenizer."""
    return build_tokenizer(["a painting in the style of *"], 600)


def save_tiny_sd3(folder: Path, t5: T5EncoderModel | None = None, **transformer: Any) -> None:
    """A Stable Diffusion 3 pipeline, with ``transformer`` settings (``SD35``) changed."""
    torch.manual_seed(0)
    config = {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 2 * WIDTH,
        "caption_projection_dim": WIDTH,
        "pooled_projection_dim": 2 * WIDTH,
        "pos_embed_max_size": 16,
    }
    tokenizer = tiny_clip_tokenizer()
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**{**config, **transformer}),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(),
        text_encoder=tiny_clip_text(CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        text_encoder_2=tiny_clip_text(CLIPTextModelWithProjection),
        tokenizer_2=tokenizer,
        text_encoder_3=t5,
        tokenizer_3=tiny_t5_tokenizer() if t5 is not None else None,
    ).save_pretrained(folder)


def save_tiny_flux(folder: Path, scheduler: dict[str, Any] = FLUX_DEV, **transformer: Any) -> None:
    """A FLUX.1 pipeline, with ``transformer`` settings changed."""
    torch.manual_seed(0)
    config = {
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 2 * WIDTH,
        "pooled_projection_dim": WIDTH,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 6, 6),
    }
    FluxPipeline(
        transformer=FluxTransformer2DModel(**{**config, **transformer}),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=tiny_vae(),
        text_encoder=tiny_clip_text(CLIPTextModel),
        tokenizer=tiny_clip_tokenizer(),
        text_encoder_2=tiny_t5(),
        tokenizer_2=tiny_t5_tokenizer(),
    ).save_pretrained(folder)


def load_tiny_flow(kind: str, folder: Path) -> FlowBackbone:
    """The backbone of a tiny pipeline, "flux" or "sd35", that is saved into ``folder``."""
    if kind == "flux":
        save_tiny_flux(folder)
    else:
        save_tiny_sd3(folder, tiny_t5(), **SD35)
    loaded = load_backbone(str(folder), "cpu", "fp32")
    assert isinstance(loaded, FlowBackbone)
    return loaded
