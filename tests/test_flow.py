"""A rectified-flow transformer as a Backbone: its closed forms, and methods on a folder in Stable Diffusion 3's layout
with tiny random weights.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_flow import WIDTH, save_tiny_sd3, tiny_t5
from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.diffusion.samplers import SAMPLERS, Run, make_sampler
from velatura.errors import ModelError
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.models.backbone import HasUNet, ImageConditioned, PictureWords, TextConditioned
from velatura.models.flow import FlowBackbone, flow_scales, flow_schedule, flow_sigmas
from velatura.models.loading.load import load_backbone
from velatura.models.noise_schedule import predict_noise, predict_x0
from velatura.models.sd3 import SD3Backbone
from velatura.picture import Picture
from velatura.regions import Region
from velatura.registry import method_class

CONTENT, STYLE = Picture.of(smooth_image(64, 80), "content"), Picture.of(smooth_image(64, 64, 1), "style")


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> FlowBackbone:
    folder = tmp_path_factory.mktemp("sd3")
    save_tiny_sd3(folder)
    backbone = load_backbone(str(folder), "cpu", "fp32")
    assert isinstance(backbone, SD3Backbone)
    return backbone


def with_velocity(backbone: FlowBackbone, velocity: Tensor) -> tuple[FlowBackbone, list[Tensor]]:
    """The backbone with a transformer that always answers ``velocity``, and the times it is asked at."""
    asked: list[Tensor] = []

    def transformer(_mixed: Tensor, *, timestep: Tensor, **_: Tensor) -> SimpleNamespace:
        asked.append(timestep)
        return SimpleNamespace(sample=velocity)

    transformer.config = backbone.transformer.config  # type: ignore[attr-defined]

    changed: FlowBackbone = object.__new__(type(backbone))
    changed.__dict__ = {**backbone.__dict__, "transformer": transformer}
    return changed, asked


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_schedule_preserves_variance_at_every_level(shift: float) -> None:
    sigmas = flow_sigmas(shift)
    abars = flow_schedule(sigmas).alphas_cumprod
    assert (sigmas.diff() > 0).all() and sigmas[0] > 0 and sigmas[-1] < 1
    assert torch.allclose(abars.sqrt(), (1 - sigmas) / flow_scales(sigmas))
    assert torch.allclose((1 - abars).sqrt(), sigmas / flow_scales(sigmas))
    assert (abars.diff() < 0).all() and abars[-1] > 0 and abars[0] < 1


def test_the_levels_are_spaced_like_the_pipelines_own(flow: FlowBackbone) -> None:
    own = flow.pipeline.scheduler.sigmas[:1000].flip(0).double()  # sigma of s = 1/1000, 2/1000, … 1
    assert ((flow.sigmas < own) & (flow.sigmas[1:].new_tensor([0.0, *own[:-1]]) < flow.sigmas)).all()


def test_the_samplers_get_the_same_levels(flow: FlowBackbone) -> None:
    for name in SAMPLERS.keys() - {"rf-solver"}:  # which takes the schedule itself
        scheduler = make_sampler(name, flow.schedule, Run(20, 20)).scheduler
        assert torch.allclose(scheduler.alphas_cumprod.double(), flow.schedule.alphas_cumprod, rtol=1e-3, atol=1e-9)


def test_noise_and_x0_are_recovered_from_the_true_velocity(flow: FlowBackbone) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn((2, 4, 8, 8), generator=generator).double() for _ in range(2))
    backbone, asked = with_velocity(flow, (noise - x0).float())
    timesteps = torch.tensor([40, 930])
    sigmas = backbone.sigmas[timesteps][:, None, None, None]
    latents = ((1 - sigmas) * x0 + sigmas * noise) / flow_scales(sigmas)
    before = backbone.evaluations
    found = backbone.predict(latents, timesteps, backbone.unconditional()).noise
    assert torch.allclose(found, noise, atol=1e-6)
    assert torch.allclose(asked[0].double(), 1000 * sigmas.flatten(), atol=1e-4)
    assert backbone.evaluations == before + 2
    for row, timestep in enumerate(timesteps.tolist()):
        abar = float(backbone.schedule.alphas_cumprod[timestep])
        assert torch.allclose(predict_x0(latents[row], noise[row], abar), x0[row])
        assert torch.allclose(predict_noise(latents[row], x0[row], abar), noise[row])
        one = backbone.predict(latents, timestep, backbone.unconditional()).noise
        assert torch.allclose(one[row], noise[row], atol=1e-6)


def test_the_true_velocity_is_sampled_to_the_picture(flow: FlowBackbone) -> None:
    generator = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn((1, 4, 8, 8), generator=generator) for _ in range(2))
    backbone, _ = with_velocity(flow, noise - x0)
    predict = conditional(backbone, backbone.unconditional())
    sampler = make_sampler("ddim", backbone.schedule, Run(1000, 600))
    abar = float(backbone.schedule.alphas_cumprod[sampler.timesteps[0]])
    start = abar**0.5 * x0 + (1 - abar) ** 0.5 * noise
    assert torch.allclose(denoise(predict, start, sampler), x0, atol=1e-2)


@torch.no_grad()
def test_inversion_leads_back(flow: FlowBackbone) -> None:
    latents = flow.encode(smooth_pixels(64, 64))
    predict, levels = conditional(flow, flow.unconditional()), flow.schedule.ddim_levels(20)
    errors = {
        corrections: (ddim_denoise(predict, invert(predict, latents, levels, corrections).noisiest, levels) - latents)
        .abs()
        .max()
        .item()
        for corrections in (0, 8)
    }
    assert errors[8] < 1e-3 and errors[8] < errors[0]


@torch.no_grad()
def test_latents_are_shifted_scaled_and_decoded_again(flow: FlowBackbone) -> None:
    pixels = smooth_pixels(64, 96)
    latents = flow.encode(pixels)
    mean = flow.vae.encode(pixels).latent_dist.mode()
    assert latents.shape == (1, 4, 8, 12)
    assert torch.allclose(latents, (mean - 0.0609) * 1.5305)
    assert torch.allclose(flow.decode(latents), flow.vae.decode(mean).sample, atol=1e-5)
    assert (flow.factor, flow.multiple, flow.native_size, flow.latent_channels) == (8, 16, 64, 4)
    noise = torch.ones_like(latents)
    spread = flow.vae.encode(pixels).latent_dist.std * 1.5305
    assert torch.allclose(flow.encode(pixels, noise), latents + spread, atol=1e-5)


def test_prompts_are_encoded_with_and_without_t5(flow: FlowBackbone, tmp_path: Path) -> None:
    conditioning = flow.encode_prompt(["a painting", "in the style of *"])
    length = flow.pipeline.tokenizer.model_max_length
    assert conditioning.states.shape == (2, length + 256, 2 * WIDTH) and not conditioning.states[:, length:].any()
    assert conditioning.extra["pooled"].shape == (2, 2 * WIDTH)
    assert not conditioning.equals(flow.encode_prompt(["a painting", "a painting"]))
    save_tiny_sd3(tmp_path, tiny_t5())
    whole = load_backbone(str(tmp_path), "cpu", "fp32")
    assert isinstance(whole, FlowBackbone)
    states = whole.encode_prompt(["a painting"]).states
    assert states[:, length:].any()
    noise = whole.predict(torch.randn(1, 4, 8, 8), 500, whole.encode_prompt(["a painting"])).noise
    assert noise.shape == (1, 4, 8, 8) and noise.isfinite().all()


def test_it_takes_prompts_and_has_no_unet_and_no_picture_words(flow: FlowBackbone) -> None:
    assert isinstance(flow, TextConditioned)
    assert not isinstance(flow, (HasUNet, PictureWords, ImageConditioned))
    with pytest.raises(ModelError, match=r"A picture as a word is not supported on .*several text encoders"):
        flow.encode_prompt(["*"], torch.zeros(1, 1, WIDTH))
    for ask in (lambda: flow.token_embedding("cat"), flow.word_width):
        with pytest.raises(ModelError, match="A picture as a word"):
            ask()


GUIDANCE = {"prompt": "oil", "guidance_scale": 3.0, "guidance_scaling": "parallel=0.5,limit=0.2,interval=0:0.9"}


@pytest.mark.parametrize("settings", [{}, {"start": "noise", "sampler": "euler"}, {"gradient": "unet"}, GUIDANCE])
def test_guided_runs_on_it(flow: FlowBackbone, settings: dict[str, Any]) -> None:
    method = Guided(steps=4, strength=0.5, size=64, weights={"gram": 1.0, "tv": 0.1}, **settings)
    style = method.fit(STYLE, "style", RunContext(flow))
    one, other = (method.stylize([CONTENT], [Region(style)], RunContext(flow, seed))[0] for seed in (0, 0))
    assert one.picture.size == (80, 64) and {"gram", "tv"} <= set(one.scores)
    assert np.array_equal(np.asarray(one.picture), np.asarray(other.picture))
    unguided = Guided(steps=4, strength=0.5, size=64, weights={"gram": 1.0}, guidance_rms=0.0, **settings)
    plain = unguided.stylize([CONTENT], [Region(style)], RunContext(flow))[0]
    assert not np.array_equal(np.asarray(one.picture), np.asarray(plain.picture))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("s2prest", "no image encoder"),
        ("inst-original", "no image encoder"),
        ("diffstyler-original", "no UNet"),
        ("zecon-original", "an ADM"),
    ],
)
def test_methods_that_need_more_say_so_in_one_sentence(flow: FlowBackbone, name: str, what: str) -> None:
    method, context = method_class(name)(), RunContext(flow)
    with pytest.raises(ModelError) as caught:
        method.stylize([CONTENT], [Region(method.fit(STYLE, "style", context))], context)
    message = str(caught.value)
    assert what in message and name in message and "\n" not in message and ". " not in message


def test_a_loss_on_a_unets_maps_is_refused(flow: FlowBackbone) -> None:
    method, context = Guided(steps=4, strength=0.5, size=64, weights={"zecon": 1.0}), RunContext(flow)
    style = method.fit(STYLE, "style", context)
    with pytest.raises(ModelError, match="zecon needs a UNet"):
        method.stylize([CONTENT], [Region(style)], context)
