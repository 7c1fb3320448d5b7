"""The house folder in stock diffusers: pipelines, schedulers, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import velatura  # noqa: F401 (its classes are named in the folder's model_index.json)
from tests.conftest import smooth_image
from velatura.models.house import autoencoder, image_encoder  # noqa: F401
from velatura.models.loading.catalogue import HOUSE_FOLDER


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from diffusers import StableDiffusionPipeline

    loaded = StableDiffusionPipeline.from_pretrained(HOUSE_FOLDER, torch_dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_text_to_image_with_another_scheduler(pipeline: Any) -> None:
    from diffusers import DPMSolverMultistepScheduler

    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    image = pipeline("a painting", num_inference_steps=3, height=64, width=64, generator=generator).images[0]
    assert image.size == (64, 64)
    assert np.asarray(image).std() > 5


def test_image_to_image_at_a_small_strength_is_the_image(pipeline: Any) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    other = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    content = smooth_image(64, 64, 1)
    generator = torch.Generator().manual_seed(0)
    image = other("a photo", image=content, strength=0.1, num_inference_steps=20, generator=generator).images[0]
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(content))
    assert difference.mean() < 20


def test_the_autoencoder_answers_as_diffusers_autoencoders_do(pipeline: Any) -> None:
    vae = pipeline.vae
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        assert torch.equal(vae.encode(pixels, return_dict=False)[0].mode(), latents)
        decoded = vae.decode(latents).sample
        assert torch.equal(vae.decode(latents, return_dict=False)[0], decoded)
        assert torch.equal(vae(pixels).sample, decoded)
    assert vae.dtype == torch.float32


def test_saved_and_loaded_it_is_bit_identical(pipeline: Any, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline.save_pretrained(tmp_path)
    again = StableDiffusionPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    for name in ("unet", "vae", "text_encoder", "image_encoder"):
        ours, theirs = (getattr(each, name).state_dict() for each in (pipeline, again))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
