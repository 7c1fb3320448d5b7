"""What the custom pipelines take: pictures as tensors, lists of one, generators, callbacks, schedulers' options."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from diffusers.callbacks import SDCFGCutoffCallback
from PIL import Image
from torch import Tensor

from tests.conftest import smooth_image
from tests.test_pipelines import IMAGE, QUICK, STYLE, load, sd15, seeded
from tests.tiny_flow import save_tiny_sd3
from velatura.errors import ModelError, PictureError, SettingError, VelaturaError
from velatura.methods.guided import Guided
from velatura.picture import read_manifest, save_picture
from velatura.pipelines import pipeline_path
from velatura.pipelines.families import FLUX, XL, check_family
from velatura.pipelines.given import as_settings
from velatura.pipelines.pictures import read_picture, read_pictures, read_style, single
from velatura.pipelines.restoring import left_as_they_were
from velatura.pipelines.schedulers import sampler_settings


@pytest.fixture
def guided(model: str) -> Any:
    return load(model, "guided")


def made_by(pipeline: Any, **more: Any) -> Any:
    given = {"image": IMAGE, "style": STYLE, "generator": seeded(), **QUICK, **more}
    return np.asarray(pipeline(**given).images[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd15(tmp_path_factory.mktemp("sd15"))


def tensor_of(image: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)


@pytest.mark.parametrize(
    "given",
    [
        tensor_of(IMAGE),
        tensor_of(IMAGE)[None],
        tensor_of(IMAGE).half().double(),
        tensor_of(IMAGE).numpy().transpose(1, 2, 0),
        (tensor_of(IMAGE) * 255).round().byte(),
        [tensor_of(IMAGE)],
        [[IMAGE]],
    ],
    ids=["tensor", "batch", "double", "array", "bytes", "list", "nested"],
)
def test_every_picture_is_read_as_diffusers_reads_one(given: Any) -> None:
    pixels = np.asarray(IMAGE).astype(int)
    for read in (read_picture(given, "style"), *read_pictures(given)):
        assert np.abs(np.asarray(read.image) - pixels).max() <= 1


@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_masks_of_one_channel_and_of_bools_are_read(kind: torch.dtype) -> None:
    mask = torch.zeros(1, 1, 6, 8)
    mask[..., :4] = 1
    for given in (mask.to(kind), mask[0].to(kind), mask[0, 0].to(kind), mask[0, 0].to(kind).numpy()):
        read = np.asarray(read_picture(given, "mask_image").image)
        assert (read[:, :4] == 255).all() and not read[:, 4:].any()


def test_only_the_image_may_be_in_minus_1_to_1() -> None:
    given = tensor_of(IMAGE) * 2 - 1
    assert np.abs(np.asarray(read_pictures(given)[0].image).astype(int) - np.asarray(IMAGE)).max() <= 1
    with pytest.raises(PictureError, match=r"The numbers of control_image reach from -.* must lie in \[0, 1\]"):
        read_picture(given, "control_image")
    with pytest.raises(PictureError, match=r"The numbers of image reach from 0 to 255, but .* in \[0, 1\]"):
        read_pictures(torch.tensor([0.0, 255.0]).reshape(1, 1, 2))
    with pytest.raises(PictureError, match="style holds numbers that are not finite"):
        read_style(tensor_of(STYLE) * float("nan"))
    with pytest.raises(PictureError, match=r"mask_image of shape \(5, 4, 4\) and torch.float32 is no picture"):
        read_picture(torch.zeros(5, 4, 4), "mask_image")


def test_a_pipelines_style_and_mask_are_read_so(guided: Any) -> None:
    plain = made_by(guided)
    assert np.array_equal(plain, made_by(guided, style=[tensor_of(STYLE)]))
    black = made_by(guided, mask_image=torch.zeros(1, 1, 64, 96))
    assert np.array_equal(black, np.asarray(IMAGE))
    assert not np.array_equal(plain, black)


def test_lists_of_one_are_taken_and_lists_of_several_refused() -> None:
    named = {"control_guidance_start": [0.1], "controlnet_conditioning_scale": [0.5], "prompt": ["a"], "eta": None}
    assert as_settings(named, "guided") == {"control_start": 0.1, "control_scale": 0.5, "prompt": "a"}
    with pytest.raises(SettingError, match="prompt takes one for all pictures, not a list of 2"):
        single(["a", "b"], "prompt")
    with pytest.raises(SettingError, match="style takes one style, or pairs with weights"):
        read_style([STYLE, IMAGE])
    assert read_style([(STYLE, 1), (IMAGE, 2)]) == [(STYLE, 1.0), (IMAGE, 2.0)]


def test_nothing_is_kept_from_one_call_to_the_next(guided: Any, model: str) -> None:
    """FreeU leaves no trace in the weights, nor do values behind each weight's first 64."""
    made_by(guided)
    guided.enable_freeu(0.9, 0.2, 1.5, 1.6)
    fresh = load(model, "guided")
    fresh.enable_freeu(0.9, 0.2, 1.5, 1.6)
    assert np.array_equal(made_by(guided), made_by(fresh))
    for pipeline in (guided, fresh):
        pipeline.disable_freeu()
        pipeline.vae.encoder.requires_grad_(False)
        for value in pipeline.unet.parameters():
            value.data *= 0.9
    assert np.array_equal(made_by(guided), made_by(fresh))


def test_each_picture_of_one_generator_has_its_own_seed(guided: Any) -> None:
    made = guided(image=[IMAGE, IMAGE], style=STYLE, generator=seeded(), **QUICK)
    generator = seeded()
    alone = [guided(image=IMAGE, style=STYLE, generator=generator, **QUICK) for _ in range(2)]
    seeds = [each["seed"] for each in made.manifests]
    assert seeds[0] != seeds[1] and seeds == [each.manifests[0]["seed"] for each in alone]


def test_sizes_are_compared_before_anything_is_computed(guided: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(type(guided), "studio", computed)
    with pytest.raises(SettingError, match="several sizes"):
        guided(image=[IMAGE, STYLE], style=STYLE, output_type="pt", **QUICK)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"generator": 5}, "generator must be a torch.Generator, or a list of them, not 5"),
        ({"callback_on_step_end": 5}, "callback_on_step_end must be a function, not 5"),
        ({"callback_on_step_end": lambda *_: 5}, "must return a dictionary with latents, or None, not a int"),
        ({"callback_on_step_end": lambda *_: {"latents": torch.zeros(1, 4, 3, 3)}}, r"of shape \(1, 4, 3, 3\): they"),
        ({"callback_on_step_end": lambda *_: {"latents": 3}}, "latents that are 3: they must be a tensor"),
        (
            {"callback_on_step_end": lambda _p, _i, _t, given: {"latents": given["latents"] * float("nan")}},
            "latents are not finite after callback_on_step_end",
        ),
        (
            {"callback_on_step_end": SDCFGCutoffCallback(cutoff_step_ratio=0.4)},
            "SDCFGCutoffCallback asks for prompt_embeds, and a callback is given latents here",
        ),
        ({"image": []}, "There is no picture in image"),
        ({"image": [IMAGE, STYLE], "control": "depth.png"}, "A control picture belongs to one photo"),
    ],
)
def test_what_cannot_be_is_one_sentence(guided: Any, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VelaturaError, match=sentence):
        guided(**{"image": IMAGE, "style": STYLE, **QUICK, **asked})


def test_what_a_call_changes_of_networks_is_put_back() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).half().train()
    network[1].eval()
    network[0].bias.requires_grad_(False)
    with left_as_they_were([network, None]):
        network.float().requires_grad_(False).eval()
    assert [module.training for module in network.modules()] == [True, True, False]
    assert network[0].weight.requires_grad and not network[0].bias.requires_grad
    assert network[0].weight.dtype == network[1].running_mean.dtype == torch.float16


def test_a_call_leaves_the_pipeline_as_it_was(guided: Any) -> None:
    guided.vae.to(torch.float16)
    guided.unet.train().requires_grad_(True)
    made_by(guided)
    assert guided.vae.dtype == torch.float16 and guided.unet.training
    assert all(value.requires_grad for value in guided.unet.parameters())


@pytest.mark.parametrize(
    ("scheduler", "dropped"),
    [
        (DPMSolverMultistepScheduler(use_karras_sigmas=True), "use_karras_sigmas=True has no effect"),
        (
            DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_order=3),
            "sde-.*, solver_order=3 has",
        ),
        (PNDMScheduler(timestep_spacing="trailing"), "timestep_spacing=trailing has no effect: the sampler ddim"),
        (LCMScheduler(original_inference_steps=20), "original_inference_steps=20 has no effect"),
        (DPMSolverMultistepScheduler(), ""),
        (DPMSolverMultistepScheduler.from_config(PNDMScheduler().config), ""),
        (EulerDiscreteScheduler(timestep_spacing="trailing"), ""),
    ],
)
def test_options_of_schedulers_that_have_no_effect_are_told(
    scheduler: Any, dropped: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "velatura"):
        sampler_settings(scheduler, "guided")
    if dropped:
        (message,) = caplog.messages
        assert re.search(dropped, message)
    else:
        assert not caplog.messages


@pytest.mark.parametrize("name", ["guided", "diffstyler"])
def test_a_pipeline_is_made_of_another_one(folder: Path, name: str) -> None:
    """diffusers' from_pipe leaves (None, None) where a part is absent."""
    stock = StableDiffusionPipeline.from_pretrained(folder)
    pipeline = DiffusionPipeline.from_pipe(stock, custom_pipeline=pipeline_path(name), trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.image_encoder == (None, None)
    own = load(folder, name)
    for each in (pipeline, own):
        assert each.fit_style(STYLE, "dusk", **({} if name == "guided" else {"fit_steps": 1, "fit_size": 64}))
    if name == "guided":
        assert np.array_equal(made_by(pipeline), made_by(own))


def test_a_saved_pipeline_is_loaded_with_its_path_again(guided: Any, tmp_path: Path) -> None:
    guided.save_pretrained(tmp_path)
    assert type(load(tmp_path, "guided")).__name__ == "GuidedPipeline"


def test_a_pipeline_for_another_family_is_refused_as_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="GuidedXLPipeline is for Stable Diffusion XL, and this model is of Stable"):
        load(folder, "guided_sdxl")
    save_tiny_sd3(tmp_path)
    with pytest.raises(ModelError, match=r"GuidedFluxPipeline is for FLUX.1, and this model is of Stable Diffusion 3"):
        load(tmp_path, "guided_flux", text_encoder_3=None, tokenizer_3=None)
    check_family({"image_encoder": None}, XL, "x")
    check_family({"transformer": None}, FLUX, "x")


def test_a_picture_is_saved_with_its_manifest(guided: Any, tmp_path: Path) -> None:
    made = guided(image=smooth_image(64, 64), style=STYLE, **QUICK)
    path = save_picture(made.images[0], tmp_path / "made.png", made.manifests[0])
    assert read_manifest(path)["seed"] == made.manifests[0]["seed"]
    assert read_manifest(path)["method"] == Guided.name
