"""The custom diffusers pipelines on tiny checkpoints in the real layouts: a Studio's results under diffusers' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    DDPMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig
from torch import Tensor
from transformers import CLIPTextConfig

from tests.conftest import smooth_image
from tests.test_sdxl import sdxl  # noqa: F401 (a fixture)
from tests.tiny_adapters import save_sd
from tests.tiny_flow import save_tiny_flux, save_tiny_sd3
from velatura import Studio
from velatura.errors import SettingError, StoppedError, VelaturaError
from velatura.models.latent import LatentBackbone
from velatura.pipelines import PIPELINES, pipeline_path

IMAGE, STYLE = smooth_image(64, 96, 1), smooth_image(64, 64, 2)
QUICK: dict[str, Any] = {"num_inference_steps": 4, "strength": 0.5, "size": 64}


def load(folder: str | Path, name: str, **parts: Any) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(
        folder, custom_pipeline=pipeline_path(name), trust_remote_code=True, **parts
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def guided(model: str) -> Any:
    return load(model, "guided")


def test_a_pipeline_makes_what_the_studio_makes(guided: Any, model: str) -> None:
    made = guided("a drawing of *", IMAGE, STYLE, generator=seeded(), guidance_scale=2.0, **QUICK)
    seed = made.manifests[0]["seed"]
    same = Studio(model, device="cpu", dtype="fp32").stylize(
        IMAGE, STYLE, seed, prompt="a drawing of *", guidance_scale=2.0, steps=4, strength=0.5, size=64
    )
    assert np.array_equal(made.images[0], same.picture)
    assert made.images[0].size == IMAGE.size


def test_the_generator_is_drawn_from_as_in_diffusers(guided: Any) -> None:
    generator = seeded()
    first, second = (guided(image=IMAGE, style=STYLE, generator=generator, **QUICK) for _ in range(2))
    again = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert first.manifests[0]["seed"] == again.manifests[0]["seed"] != second.manifests[0]["seed"]
    each = guided(image=[IMAGE, IMAGE], style=STYLE, generator=[seeded(), seeded(2)], **QUICK)
    assert each.manifests[0]["seed"] == first.manifests[0]["seed"]
    with pytest.raises(SettingError, match="2 generators for 1 pictures"):
        guided(image=IMAGE, style=STYLE, generator=[seeded(), seeded()], **QUICK)


@pytest.mark.parametrize("name", ["s2prest", "diffstyler"])
def test_methods_that_fit_take_a_style_that_was_fitted_once(model: str, name: str) -> None:
    pipeline = load(model, name)
    style = pipeline.fit_style(STYLE, "dusk", fit_steps=2)
    made = pipeline(image=IMAGE, style=style, generator=seeded(), **QUICK)
    assert made.images[0].size == IMAGE.size
    assert made.manifests[0]["method"] == name and made.manifests[0]["style"]["name"] == "dusk"


def test_pictures_come_and_go_in_diffusers_forms(guided: Any) -> None:
    array = np.asarray(IMAGE, np.float32) / 255
    batch = torch.from_numpy(np.stack([array, array])).permute(0, 3, 1, 2)
    made = {
        kind: guided(image=given, style=STYLE, generator=seeded(), output_type=kind, **QUICK).images
        for kind, given in (("pil", IMAGE), ("np", array[None]), ("pt", batch))
    }
    assert made["np"].shape == (1, 64, 96, 3) and made["pt"].shape == (2, 3, 64, 96)
    assert np.array_equal((made["np"][0] * 255).round(), np.asarray(made["pil"][0]))
    assert torch.equal(made["pt"][0].permute(1, 2, 0), torch.from_numpy(made["np"][0]))
    (images,) = guided(image=IMAGE, style=STYLE, generator=seeded(), return_dict=False, **QUICK)
    assert np.array_equal(images[0], made["pil"][0])
    with pytest.raises(SettingError, match="several sizes"):
        guided(image=[IMAGE, STYLE], style=STYLE, output_type="np", **QUICK)


def test_a_mask_says_where_the_style_goes(guided: Any) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:, :48] = 255
    made = np.asarray(guided(image=IMAGE, style=STYLE, mask_image=mask, generator=seeded(), **QUICK).images[0])
    assert np.array_equal(made[:, 60:], np.asarray(IMAGE)[:, 60:])
    assert not np.array_equal(made[:, :40], np.asarray(IMAGE)[:, :40])


def test_the_callback_is_given_the_latents_of_each_step_and_may_change_them(guided: Any) -> None:
    seen: list[tuple[int, int]] = []

    def watch(pipeline: Any, index: int, timestep: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert pipeline is guided and tensors["latents"].shape == (1, 8, 8, 12)
        seen.append((index, timestep))
        return {}

    plain = guided(image=IMAGE, style=STYLE, generator=seeded(), callback_on_step_end=watch, **QUICK).images[0]
    assert seen == [(0, 251), (1, 1)] and guided.num_timesteps == 2
    unwatched = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK).images[0]
    assert np.array_equal(plain, unwatched)
    turned = guided(
        image=IMAGE,
        style=STYLE,
        generator=seeded(),
        callback_on_step_end=lambda _p, _i, _t, tensors: {"latents": tensors["latents"].flip(-1)},
        **QUICK,
    ).images[0]
    assert not np.array_equal(plain, turned)


def test_the_callback_can_stop_the_run(guided: Any) -> None:
    def stop(pipeline: Any, *_: Any) -> dict[str, Tensor]:
        pipeline._interrupt = True
        return {}

    with pytest.raises(StoppedError, match="Stopped after step 1"):
        guided(image=IMAGE, style=STYLE, callback_on_step_end=stop, **QUICK)
    assert guided(image=IMAGE, style=STYLE, **QUICK).images


def test_schedulers_are_swapped(guided: Any, model: str) -> None:
    plain = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert plain.manifests[0]["settings"]["sampler"] == "ddim"
    for scheduler, sampler in ((EulerDiscreteScheduler, "euler"), (DDPMScheduler, "ddpm")):
        guided.scheduler = scheduler.from_config(guided.scheduler.config)
        made = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
        assert made.manifests[0]["settings"]["sampler"] == sampler
        assert not np.array_equal(made.images[0], plain.images[0])
    guided.scheduler = HeunDiscreteScheduler.from_config(guided.scheduler.config)
    with pytest.raises(SettingError, match="does not sample with HeunDiscreteScheduler"):
        guided(image=IMAGE, style=STYLE, **QUICK)
    ddim_only = load(model, "diffstyler")
    ddim_only.scheduler = guided.scheduler
    style = ddim_only.fit_style(STYLE, "dusk", fit_steps=1)
    assert ddim_only(image=IMAGE, style=style, **QUICK).images


def test_offloaded_networks_make_the_same_picture(guided: Any) -> None:
    plain = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    for part in (guided.unet, guided.vae, guided.text_encoder):
        cpu_offload(part, torch.device("cpu"), offload_buffers=True)  # their weights are brought call by call
    assert guided.unet.device == torch.device("meta")
    made = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert np.array_equal(made.images[0], plain.images[0])
    assert made.manifests[0]["model_fingerprint"] == plain.manifests[0]["model_fingerprint"]


def with_lora(unet: Any) -> None:
    """A LoRA on the UNet that changes what it predicts, as ``load_lora_weights`` leaves one."""
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False), "beside")


def test_lora_that_is_loaded_acts_and_stays(guided: Any) -> None:
    plain = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    with_lora(guided.unet)
    made = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert not np.array_equal(made.images[0], plain.images[0])
    assert made.manifests[0]["model_fingerprint"] == plain.manifests[0]["model_fingerprint"]
    assert guided.unet.active_adapters() == ["beside"]
    guided.unet.unload_lora()
    again = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert np.array_equal(again.images[0], plain.images[0])


def test_diffstyler_refuses_lora_beside_its_own(model: str) -> None:
    pipeline = load(model, "diffstyler")
    with_lora(pipeline.unet)
    with pytest.raises(SettingError, match=r"adapters of its own on the UNet: call fuse_lora"):
        pipeline(image=IMAGE, style=STYLE, **QUICK)


def test_a_pipeline_is_saved_and_made_of_the_parts_of_another(guided: Any, tmp_path: Path) -> None:
    guided.save_pretrained(tmp_path / "saved")
    plain = guided(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    again = load(tmp_path / "saved", "guided")(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert np.array_equal(plain.images[0], again.images[0])
    stock = StableDiffusionPipeline(**guided.components, requires_safety_checker=False)
    of_parts = type(guided)(**stock.components, requires_safety_checker=False)
    of_parts.set_progress_bar_config(disable=True)
    third = of_parts(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert np.array_equal(plain.images[0], third.images[0])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"style": None}, "Give image= and style="),
        ({"output_type": "latent"}, "output_type must be pil, np, pt, not 'latent'"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "is given latents, not prompt_embeds"),
        ({"strength": 1.5}, "strength"),
        ({"hue": 3}, "hue is not taken by this pipeline"),
        ({"num_images_per_prompt": 2}, "^num_images_per_prompt is not taken by this pipeline: leave it out"),
        ({"mask_image": IMAGE, "style": {"a": 1.0, "b": 1.0}}, "A region takes one style"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(guided: Any, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VelaturaError, match=sentence):
        guided(**{"image": IMAGE, "style": STYLE, **QUICK, **asked})


def sd15(folder: Path) -> Path:
    """Stable Diffusion 1.5's layout with tiny random weights, and PNDM, as it is published."""
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, eos_token_id=2
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=32,
    )
    return save_sd(folder, unet, text)


def test_stable_diffusion_1_with_its_own_scheduler(tmp_path: Path) -> None:
    folder = sd15(tmp_path / "sd15")
    made = load(folder, "guided")(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert made.images[0].size == IMAGE.size and made.manifests[0]["settings"]["sampler"] == "ddim"
    pipeline = load(folder, "diffstyler")
    style = pipeline.fit_style(STYLE, "dusk", fit_steps=1)
    assert pipeline(image=IMAGE, style=style, **QUICK).images[0].size == IMAGE.size


@pytest.mark.parametrize("name", ["guided_sdxl", "diffstyler_sdxl"])
def test_stable_diffusion_xl(sdxl: LatentBackbone, name: str) -> None:  # noqa: F811 (the fixture)
    pipeline = load(sdxl.name, name)
    settings = {"fit_steps": 1} if "diffstyler" in name else {}
    style = pipeline.fit_style(STYLE, "dusk", **settings)
    made = pipeline(image=IMAGE, style=style, generator=seeded(), **QUICK)
    assert made.images[0].size == IMAGE.size
    if name == "guided_sdxl":
        assert made.manifests[0]["settings"]["sampler"] == "euler"  # as XL is published


def test_stable_diffusion_3(tmp_path: Path) -> None:
    save_tiny_sd3(tmp_path / "sd3")
    pipeline = load(tmp_path / "sd3", "guided_sd3", text_encoder_3=None, tokenizer_3=None)
    made = pipeline(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert made.images[0].size == IMAGE.size


def test_flux(tmp_path: Path) -> None:
    save_tiny_flux(tmp_path / "flux")
    pipeline = load(tmp_path / "flux", "guided_flux")
    made = pipeline(image=IMAGE, style=STYLE, generator=seeded(), **QUICK)
    assert made.images[0].size == IMAGE.size and made.manifests[0]["settings"]["sampler"] == "ddim"


def test_every_file_holds_one_pipeline() -> None:
    from diffusers.utils.dynamic_modules_utils import get_class_from_dynamic_module

    for name in PIPELINES:
        path = Path(pipeline_path(name))
        found = get_class_from_dynamic_module(str(path.parent), path.name, trust_remote_code=True)
        assert found.method_name == name.partition("_")[0]
    with pytest.raises(SettingError, match="no pipeline 'gatys'"):
        pipeline_path("gatys")
