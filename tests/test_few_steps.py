"""LoRAs and samplers for 4 to 8 steps: diffusers' arithmetic, what they leave as it was, and who refuses them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, LCMScheduler
from safetensors.torch import save_file
from torch import Tensor

from tests.conftest import smooth_image
from tests.test_ip_adapter import CONTENT, QUICK, STYLE, guided, loaded, made_by, pipeline_of, pixels, stylized
from tests.tiny_adapters import kohya_lora, save_sd15, weights_of
from tests.tiny_house import tiny_house
from velatura.diffusion.denoising import denoise
from velatura.diffusion.samplers import Run, make_sampler, start_level
from velatura.errors import ModelError, SettingError, VelaturaError
from velatura.methods.adapters.joining import joined
from velatura.methods.context import RunContext
from velatura.models.backbone import Prediction
from velatura.models.latent import LatentBackbone
from velatura.models.noise_schedule import NoiseSchedule, add_noise
from velatura.regions import Region
from velatura.registry import method_class

FOUR: dict[str, Any] = {"start": "noise", "steps": 4, "strength": 1.0, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> LatentBackbone:
    return loaded(save_sd15(tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def lora(sd15: LatentBackbone, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("lora") / "pytorch_lora_weights.safetensors"
    save_file(kohya_lora(sd15.unet), file)
    return str(file)


def schedule() -> NoiseSchedule:
    return NoiseSchedule.of_scheduler(LCMScheduler())


def a_network(latents: Tensor, timestep: Any) -> Tensor:
    """Some smooth function in place of a UNet."""
    return torch.tanh(latents + float(timestep) / 1000)


def test_lcm_is_diffusers_own() -> None:
    stock, x = LCMScheduler(), torch.randn(1, 4, 8, 8)
    stock.set_timesteps(4)
    theirs, generator = x, torch.Generator().manual_seed(1)
    for timestep in stock.timesteps:
        theirs = stock.step(a_network(theirs, timestep), timestep, theirs, generator).prev_sample
    sampler = make_sampler("lcm", schedule(), Run(4, 4, generator=torch.Generator().manual_seed(1)))
    assert sampler.timesteps == (999, 759, 499, 259)
    ours = denoise(lambda latents, timestep: Prediction(a_network(latents, timestep)), x, sampler)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_euler_trailing_is_diffusers_own() -> None:
    stock, x = EulerDiscreteScheduler(**schedule().betas, timestep_spacing="trailing"), torch.randn(1, 4, 8, 8)
    stock.set_timesteps(4)
    theirs = x * float(stock.sigmas[0] ** 2 + 1) ** 0.5
    for timestep in stock.timesteps:
        scaled = stock.scale_model_input(theirs, timestep)
        theirs = stock.step(a_network(scaled, timestep), timestep, theirs).prev_sample
    sampler = make_sampler("euler-trailing", schedule(), Run(4, 4))
    assert sampler.timesteps == (999, 749, 499, 249)
    ours = denoise(lambda latents, timestep: Prediction(a_network(latents, timestep)), x, sampler)
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", ["lcm", "euler-trailing"])
@pytest.mark.parametrize("run", [8, 4])
def test_a_run_starts_at_its_samplers_own_level_and_leads_to_the_truth(name: str, run: int) -> None:
    """With the noise of one known picture in every step the picture itself comes out, also of a part of the steps."""
    x0, noise = torch.randn(2, 1, 4, 8, 8)
    asked = Run(8, run, generator=torch.Generator().manual_seed(1))
    sampler = make_sampler(name, schedule(), asked)
    timestep, abar = start_level(name, schedule(), asked)
    assert (timestep, abar) == (sampler.timesteps[0], sampler.abars[0]) and len(sampler.timesteps) == run

    def predict(latents: Tensor, at: int) -> Prediction:
        level = float(schedule().alphas_cumprod[at])
        return Prediction((latents - level**0.5 * x0) / (1 - level) ** 0.5)

    assert torch.allclose(denoise(predict, add_noise(x0, noise, abar), sampler), x0, atol=2e-3)


def test_other_samplers_start_where_inversions_arrive() -> None:
    levels = schedule().ddim_levels(20).up_to(12)
    for name in ("ddim", "dpmsolver++", "euler"):
        assert start_level(name, schedule(), Run(20, 12)) == (levels.timesteps[-1], levels.abars[-1])


@pytest.mark.parametrize("sampler", ["lcm", "euler-trailing"])
def test_guided_paints_in_four_steps_under_a_lora(sd15: LatentBackbone, lora: str, sampler: str) -> None:
    before, modules = dict(weights_of(sd15.unet)), dict(sd15.unet.named_modules()).keys()
    plain = stylized(guided_of(sampler), sd15)
    made = stylized(guided_of(sampler, step_lora=lora), sd15)
    assert made.scores["unet_evaluations"] == 4 and set(made.manifest["adapters"]) == {"step_lora"}
    assert not np.array_equal(pixels(made), pixels(plain))
    assert np.array_equal(pixels(made), pixels(stylized(guided_of(sampler, step_lora=lora), sd15)))
    assert np.array_equal(pixels(plain), pixels(stylized(guided_of(sampler), sd15)))
    after = sd15.unet.state_dict()
    assert dict(sd15.unet.named_modules()).keys() == modules
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def guided_of(sampler: str, **more: Any) -> Any:
    return replace(guided(), **FOUR, sampler=sampler, **more)


def test_the_lora_acts_at_full_strength(sd15: LatentBackbone, lora: str) -> None:
    """The prediction inside a run is that of W + B A."""
    latents, states = torch.randn(1, 4, 8, 8), sd15.encode_prompt(["a painting"])
    seen: list[Tensor] = []
    hook = sd15.unet.register_forward_hook(lambda _unet, _inputs, output: seen.append(output.sample))
    method, style = guided_of("lcm", step_lora=lora), guided().fit(STYLE, "style", RunContext(sd15))
    with torch.no_grad(), joined(method, [Region(style)], RunContext(sd15)):
        sd15.predict(latents, 500, states)
        with sd15.alone():
            sd15.predict(latents, 500, states)
    kept = {name: value.clone() for name, value in sd15.unet.state_dict().items()}
    for key, down in kohya_lora(sd15.unet).items():
        if key.endswith("lora_down.weight"):
            up = kohya_lora(sd15.unet)[key.replace("lora_down", "lora_up")]
            names = {name.replace(".", "_"): name for name, _ in sd15.unet.named_modules()}
            weight = sd15.unet.get_submodule(names[key.removeprefix("lora_unet_").partition(".")[0]]).weight
            weight.data += (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    with torch.no_grad():
        sd15.predict(latents, 500, states)
    sd15.unet.load_state_dict(kept)
    with torch.no_grad():
        sd15.predict(latents, 500, states)
    hook.remove()
    under, alone, merged, plain = seen
    assert torch.allclose(under, merged, atol=1e-4) and not torch.allclose(under, plain, atol=1e-2)
    assert torch.equal(alone, plain)


def test_s2prest_paints_in_four_steps() -> None:
    backbone = tiny_house()
    method, context = method_class("s2prest")(**QUICK["s2prest"]), RunContext(backbone)
    style = method.fit(STYLE, "style", context)
    few = replace(method, steps=8, strength=0.5, inversion="stochastic", guidance_scale=1.0)
    made = [
        pixels(replace(few, sampler=sampler).stylize([CONTENT], [Region(style)], context)[0])
        for sampler in ("lcm", "lcm", "euler-trailing")
    ]
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("name", "settings", "instead"),
    [
        ("guided", {"sampler": "lcm"}, "set start=noise"),
        ("guided", {"sampler": "euler-trailing"}, "set start=noise"),
        ("guided", {"step_lora": "lora.safetensors"}, "set start=noise"),
        ("s2prest", {"sampler": "lcm", "inversion": "ddim"}, "set inversion=stochastic"),
        ("diffstyler", {"step_lora": "lora.safetensors"}, "use --method guided"),
        ("styleid", {"step_lora": "lora.safetensors"}, "use --method guided"),
    ],
)
def test_methods_that_invert_say_so_in_one_sentence(name: str, settings: dict[str, Any], instead: str) -> None:
    method, context = method_class(name)(**QUICK[name]), RunContext(tiny_house())
    style = method.fit(STYLE, "style", context)
    with pytest.raises(
        SettingError, match=f"is for runs of few steps from noise, .* invert the photo: {instead}"
    ) as told:
        replace(method, **settings).stylize([CONTENT], [Region(style)], context)
    assert "\n" not in str(told.value) and ". " not in str(told.value)


def test_what_cannot_be_is_one_sentence(sd15: LatentBackbone, lora: str, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[VelaturaError], str]] = [
        ({"step_lora": "nowhere.safetensors"}, ModelError, "There is no LoRA nowhere.safetensors"),
        ({"steps": 51}, SettingError, "The sampler lcm has at most 50 steps, not 51"),
    ]
    for settings, error, sentence in cases:
        with pytest.raises(error, match=sentence):
            stylized(replace(guided_of("lcm"), **settings), sd15)
    with pytest.raises(ModelError, match=r"The LoRA .* was made for another model"):
        backbone = tiny_house()
        stylized(guided_of("lcm", step_lora=lora), backbone)  # type: ignore[arg-type]


def test_a_pipelines_scheduler_stands_for_its_sampler(sd15: LatentBackbone, lora: str) -> None:
    pipeline = pipeline_of(sd15)
    steps = {"start": "noise", "num_inference_steps": 4, "strength": 1.0, "guidance_scale": 1.0}
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    under_lcm = made_by(pipeline, **steps)
    pipeline.load_lora_weights(lora)
    loaded_on_it = made_by(pipeline, **steps)
    assert not np.array_equal(under_lcm, loaded_on_it)
    with pytest.raises(ModelError, match="A LoRA is loaded on the model already"):
        made_by(pipeline, step_lora=lora, **steps)
    pipeline.unload_lora_weights()
    named = made_by(pipeline, step_lora=lora, **steps)
    assert np.abs(named.astype(int) - loaded_on_it).max() <= 1
    trailing = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    pipeline.scheduler = trailing
    generator = torch.Generator().manual_seed(1)
    made = pipeline(image=smooth_image(64, 64), style=STYLE.image, generator=generator, size=64, **steps)
    assert made.manifests[0]["settings"]["sampler"] == "euler-trailing"
