"""SDXL's two text encoders and size numbers, on a folder in its real layout with tiny random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.conftest import smooth_image
from velatura.errors import ModelError
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.guided import Guided
from velatura.models.house.vocabulary import build_tokenizer
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.picture import Picture
from velatura.regions import Region

CONTENT, STYLE = Picture.of(smooth_image(64, 80), "content"), Picture.of(smooth_image(64, 64, 1), "style")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> LatentBackbone:
    folder: Path = tmp_path_factory.mktemp("sdxl")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
        pad_token_id=1,
        eos_token_id=2,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
    )
    tokenizer = build_tokenizer(["a painting in the style of *"], 600)
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    ).save_pretrained(folder)
    backbone = load_backbone(str(folder), "cpu", "fp32")
    assert type(backbone) is LatentBackbone
    return backbone


def test_guided_runs_with_zecon_on_its_encoder(sdxl: LatentBackbone) -> None:
    method = Guided(steps=4, strength=0.5, size=64, weights={"gram": 1.0, "zecon": 0.5})
    style = method.fit(STYLE, "style", RunContext(sdxl))
    made = method.stylize([CONTENT], [Region(style)], RunContext(sdxl))[0]
    assert made.picture.size == (80, 64) and set(made.scores) == {"gram", "zecon", "unet_evaluations"}


def test_diffstyler_fits_and_injects(sdxl: LatentBackbone) -> None:
    guidance = {"guidance_scale": 2.0, "guidance_scaling": "parallel=0.5,limit=0.2,interval=0:0.9"}
    method = DiffStyler(steps=3, size=64, fit_steps=2, fit_size=64, fit_every=1, rank=2, **guidance)
    style = method.fit(STYLE, "style", RunContext(sdxl))
    made = method.stylize([CONTENT], [Region(style)], RunContext(sdxl))[0]
    assert np.isfinite(np.asarray(made.picture)).all() and made.picture.size == (80, 64)


def test_a_word_for_a_picture_is_refused(sdxl: LatentBackbone) -> None:
    with pytest.raises(ModelError, match="two text encoders"):
        sdxl.encode_prompt(["a *"], torch.zeros(1, 1, 32))
