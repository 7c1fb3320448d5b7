"""A house model with the real parts and random weights, small enough for unit tests."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from velatura.app.studio import Studio
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.models.house.vocabulary import build_tokenizer
from velatura.training.denoiser import Denoiser, DenoiserRecipe, house_pipeline, make_text_encoder, make_unet

RECIPE = DenoiserRecipe(widths=(32, 64), word_width=32, text_layers=1)


@lru_cache(maxsize=1)
def tiny_house() -> HouseBackbone:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a painting in the style of *"], 600)
    parts = Denoiser(make_unet(RECIPE, 8), make_text_encoder(RECIPE, tokenizer), HouseImageEncoder(32))
    vae = HouseAutoencoder(block_out_channels=(8, 8, 8, 8), decoder_blocks=1, encoder_blocks=1)
    return HouseBackbone(house_pipeline(parts, tokenizer, vae), "tiny", torch.device("cpu"), torch.float32)


def tiny_studio(library_folder: Path | None = None) -> Studio:
    """A new Studio on the tiny house model, with a cache of its own."""
    studio = Studio("tiny", library_folder=library_folder)
    studio._backbone = tiny_house()
    return studio
