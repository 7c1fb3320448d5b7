"""The shipped house model: it is whole, it does what its card says, and a real photo is stylised end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from velatura import Studio
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.evaluation import colour_distance, edge_f1, gram_distance, psnr
from velatura.evaluation.painted_styles import whirls
from velatura.models.house.autoencoder import dct_kernels
from velatura.models.house.backbone import HouseBackbone
from velatura.models.loading.catalogue import HOUSE_FOLDER
from velatura.models.loading.load import load_backbone
from velatura.models.noise_schedule import add_noise
from velatura.picture import Picture, image_to_pixels

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def house() -> HouseBackbone:
    backbone = load_backbone("house", device="cpu", dtype="fp32")
    assert isinstance(backbone, HouseBackbone)
    return backbone


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def style() -> Image.Image:
    return whirls()


def test_the_weights_fit_into_the_repository() -> None:
    sizes = [file.stat().st_size for file in HOUSE_FOLDER.rglob("*") if file.is_file()]
    assert sum(sizes) <= 60 * MEBIBYTE and max(sizes) <= 16 * MEBIBYTE


def test_it_is_an_ordinary_diffusers_folder(house: HouseBackbone) -> None:
    assert house.pipeline.config["unet"] == ("diffusers", "UNet2DConditionModel")
    assert house.pipeline.config["text_encoder"] == ("transformers", "CLIPTextModel")
    assert house.schedule.prediction_type == "v_prediction"
    assert house.token_ids(["*"])[0, 1] == house.placeholder_id


@torch.no_grad()
def test_the_autoencoder_repairs_what_its_dct_leaves_out(house: HouseBackbone, photo: Image.Image) -> None:
    pixels = image_to_pixels(photo, (256, 256))
    analysis, synthesis = dct_kernels(4, 2)
    linear = F.conv_transpose2d(F.conv2d(pixels, analysis, stride=8), synthesis, stride=8)
    assert psnr(house.decode(house.encode(pixels)), pixels) > psnr(linear, pixels) + 1.5


@torch.no_grad()
def test_the_denoiser_knows_pictures_from_noise(house: HouseBackbone, photo: Image.Image) -> None:
    """It must beat guessing that the noisy latents are all noise, and all picture, at a middle level."""
    latents = house.encode(image_to_pixels(photo, (256, 256)))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    abar = float(house.schedule.alphas_cumprod[500])
    noisy = add_noise(latents, noise, abar)
    error = (house.predict(noisy, 500, house.unconditional()).noise - noise).square().mean()
    assert error < 0.5 * (noisy - noise).square().mean()
    assert error < 0.3


@torch.no_grad()
def test_corrected_inversion_leads_back(house: HouseBackbone, photo: Image.Image) -> None:
    latents = house.encode(image_to_pixels(photo, (128, 128)))
    levels = house.schedule.ddim_levels(25)
    predict = conditional(house, house.unconditional())
    back = ddim_denoise(predict, invert(predict, latents, levels, 3).noisiest, levels)
    assert (back - latents).square().mean().sqrt() < 0.2


def test_a_word_says_the_style_and_not_the_place(house: HouseBackbone, photo: Image.Image, style: Image.Image) -> None:
    words = [
        house.style_word(image_to_pixels(image, (256, 256)))
        for image in (style, style.transpose(Image.Transpose.FLIP_LEFT_RIGHT), photo)
    ]
    same, other = ((words[0] - word).norm().item() for word in words[1:])
    assert same < 0.7 * other


def test_a_photo_is_stylised(photo: Image.Image, style: Image.Image, tmp_path: Path) -> None:
    studio = Studio("house", device="cpu", library_folder=tmp_path)
    content, painting = Picture.of(photo, "astronaut"), Picture.of(style, "style")
    result = studio.stylize(content, style=painting, seed=0, size=256, steps=20)
    assert result.picture.size == photo.size
    before, after, wanted = (image_to_pixels(image, (256, 256)) for image in (photo, result.picture, style))
    assert colour_distance(after, wanted) < 0.8 * colour_distance(before, wanted)
    assert gram_distance(after, wanted) < 0.8 * gram_distance(before, wanted)
    assert edge_f1(after, before) > 0.4
    assert np.asarray(result.picture).std() > 20
