"""A house model with the real parts and random weights, small enough for unit tests."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from velatura.app.studio import Studio
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_adapter import DELTA, fast_unet, fresh_adapter
from velatura.models.house.fast_painter import FastPainter
from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.models.house.stroke_network import untrained_stroke_network
from velatura.models.house.vocabulary import build_tokenizer
from velatura.training.denoiser import Denoiser, DenoiserRecipe, house_pipeline, make_text_encoder, make_unet

RECIPE = DenoiserRecipe(widths=(32, 64), word_width=32, text_layers=1)


@lru_cache(maxsize=1)
def tiny_house() -> HouseBackbone:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a painting in the style of *"], 600)
    parts = Denoiser(make_unet(RECIPE, 8), make_text_encoder(RECIPE, tokenizer), HouseImageEncoder(32))
    vae = HouseAutoencoder(block_out_channels=(8, 8, 8, 8), decoder_blocks=1, encoder_blocks=1)
    backbone = HouseBackbone(house_pipeline(parts, tokenizer, vae), "tiny", torch.device("cpu"), torch.float32)
    backbone.fast_painter = FastPainter(backbone.unet, random_adapter(backbone.unet), backbone.device, backbone.dtype)
    return backbone


def stroked_house(monkeypatch: pytest.MonkeyPatch) -> HouseBackbone:
    """The tiny house model with Magenta's own network for the strokes, as long as a test runs."""
    house = tiny_house()
    monkeypatch.setattr(house, "stroke_network", untrained_stroke_network(house.pipeline.image_encoder))
    monkeypatch.setitem(house.__dict__, "fast_networks", {})  # what a test finds is forgotten after it
    return house


def random_adapter(unet: Any) -> dict[str, torch.Tensor]:
    """A fast adapter of a UNet whose changes are random, and small."""
    adapter = fresh_adapter(dict(fast_unet(unet).named_parameters()), rank=2)
    generator = torch.Generator().manual_seed(3)
    return {
        name: 0.05 * torch.randn(value.shape, generator=generator) if name.endswith(DELTA) else value
        for name, value in adapter.items()
    }


def tiny_studio(library_folder: Path | None = None) -> Studio:
    """A new Studio on the tiny house model, with a cache of its own."""
    studio = Studio("tiny", library_folder=library_folder)
    studio._backbone = tiny_house()
    return studio
