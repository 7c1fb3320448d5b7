"""DiffStyler on transformers: LoRAs of the image tokens' projections, in masks, held by the content's attention."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tests.conftest import smooth_image
from tests.tiny_flow import load_tiny_flow
from velatura.diffusion.attention_control import changed, recorded
from velatura.errors import ModelError, StyleError
from velatura.methods.base import Stylization
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.diffstyler.fitting import prediction_weight
from velatura.methods.diffstyler.injection import Injection, InjectionSites
from velatura.methods.latent_regions import regions_of_steps
from velatura.models.flow import FlowBackbone, flow_schedule, flow_sigmas
from velatura.models.lora import attached, attention_projections, fresh_adapter, using
from velatura.models.lora_files import read_lora, save_lora
from velatura.picture import Picture
from velatura.regions import Placement, Region, parse_query
from velatura.registry import method_class
from velatura.style import Style

FIT = {"fit_steps": 6, "fit_size": 64, "rank": 4, "fit_rate": 2e-2, "fit_every": 3}
QUICK = DiffStyler(steps=4, size=64, guidance_scale=1.0, negative_prompt="", **FIT)  # type: ignore[arg-type]
CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
GRID = (8, 10)
RIGHT = parse_query("polygon:40,0;80,0;80,64;40,64")
LEFT = parse_query("polygon:0,0;40,0;40,64;0,64")
BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")


@dataclasses.dataclass(frozen=True)
class Tried:
    """A model, the folder it is in, and two styles fitted on it."""

    folder: Path
    backbone: FlowBackbone
    styles: tuple[Style, Style]
    before: dict[str, Tensor]


@pytest.fixture(scope="module", params=["flux", "sd35"])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    folder: Path = tmp_path_factory.mktemp(request.param)
    backbone = load_tiny_flow(request.param, folder)
    before = {key: value.clone() for key, value in backbone.transformer.state_dict().items()}
    pictures = [Picture.of(smooth_image(64, 64, seed), f"style{seed}") for seed in (1, 2)]
    one, other = (QUICK.fit(picture, picture.name, RunContext(backbone)) for picture in pictures)
    return Tried(folder, backbone, (one, other), before)


def adapter_of(style: Style) -> dict[str, Tensor]:
    return {key: value for key, value in style.tensors.items() if ".lora_" in key}


def run(tried: Tried, method: DiffStyler, *regions: Region) -> Stylization:
    return method.stylize([CONTENT], regions or [Region(tried.styles[0])], RunContext(tried.backbone))[0]


def array(made: Stylization) -> np.ndarray:
    return np.asarray(made.picture.convert("RGB")).astype(int)


def noisy(seed: int = 0) -> Tensor:
    return torch.randn((1, 4, *GRID), generator=torch.Generator().manual_seed(seed))


def test_a_fit_learns_the_projections_of_image_tokens_only(tried: Tried) -> None:
    modules = attention_projections(tried.backbone.transformer)
    assert modules and all(module.startswith(BLOCKS) and ".add_" not in module for module in modules)
    adapter = adapter_of(tried.styles[0])
    assert {key.rpartition(".lora_")[0] for key in adapter} == set(modules)
    assert any(key.endswith("lora_B.weight") and value.any() for key, value in adapter.items())


def test_fitting_and_stylising_leave_the_transformer_bit_identical(tried: Tried) -> None:
    run(tried, QUICK)
    after = tried.backbone.transformer.state_dict()
    assert list(after) == list(tried.before) and all(torch.equal(after[key], tried.before[key]) for key in after)
    assert not any(module._forward_hooks for module in tried.backbone.transformer.modules())


def test_a_fit_lowers_the_loss_of_the_velocity(tried: Tried) -> None:
    picture = Picture.of(smooth_image(64, 64, 1), "style")
    longer = dataclasses.replace(QUICK, fit_steps=24, fit_every=8, fit_batch=4)
    losses = longer.fit(picture, "style", RunContext(tried.backbone)).card["loss"]
    assert losses[-1][1] < losses[0][1]


def test_the_loss_is_that_of_the_velocity() -> None:
    sigmas = flow_sigmas(3.0)
    timesteps = torch.tensor([3, 500, 990])
    # eps = x + (1 - sigma) v: an error of v is (1 - sigma) times that in eps.
    expected = 1 / (1 - sigmas[timesteps]).square()
    assert torch.allclose(prediction_weight(flow_schedule(sigmas), timesteps).double(), expected, rtol=1e-5)


@torch.no_grad()
def test_the_noise_is_that_of_each_regions_lora_in_its_mask(tried: Tried) -> None:
    backbone, network = tried.backbone, tried.backbone.transformer
    regions = [Region(tried.styles[0], LEFT), Region(tried.styles[1], RIGHT)]
    placement, context = Placement.of(regions, CONTENT), RunContext(backbone)
    method = dataclasses.replace(QUICK, attention_share=0.0, prompt="a cat", guidance_scale=1.0)
    steps = regions_of_steps(placement, noisy(), (500,))
    adapters = [SimpleNamespace(adapter=adapter_of(style), conditioning=lambda *_: cat) for style in tried.styles]
    cat = backbone.encode_prompt(["a cat"])
    source = SimpleNamespace(recording=lambda _timestep: {})
    with attached(network, {f"region{i}": each.adapter for i, each in enumerate(adapters)}):
        predict = method.regional_noise(adapters, steps, source, context)  # type: ignore[arg-type]
        found = predict(noisy(), 500).noise
        own = []
        for index in range(2):
            with using(network, f"region{index}"):
                own.append(backbone.predict(noisy(), 500, cat).noise)
        plain = backbone.predict(noisy(), 500, cat).noise
    shares = steps[500].shares
    assert torch.allclose(found, shares[0] * own[0] + shares[1] * own[1], atol=1e-5)
    assert all(not torch.allclose(each, plain, atol=1e-3) for each in own)
    assert torch.equal(plain, backbone.predict(noisy(), 500, cat).noise)


def test_outside_a_mask_the_contents_bytes_stay_and_two_styles_differ(tried: Tried) -> None:
    content = np.asarray(CONTENT.image.convert("RGB")).astype(int)
    made = array(run(tried, QUICK, Region(tried.styles[0], RIGHT)))
    assert np.array_equal(made[:, :36], content[:, :36]) and not np.array_equal(made[:, 46:], content[:, 46:])
    both = array(run(tried, QUICK, Region(tried.styles[0], LEFT), Region(tried.styles[1], RIGHT)))
    turned = array(run(tried, QUICK, Region(tried.styles[1], LEFT), Region(tried.styles[0], RIGHT)))
    assert np.abs(both - turned).mean() > 3


@torch.no_grad()
def test_a_pass_injected_with_itself_is_the_same_whatever_the_prompt_of_its_rows(tried: Tried) -> None:
    backbone, network = tried.backbone, tried.backbone.transformer
    sites, whole = InjectionSites.of(backbone, GRID), Injection(True, 1.0)
    assert sites.feature is None and all(name.startswith(BLOCKS) for name in sites.attention)
    empty, cat = backbone.encode_prompt([""]), backbone.encode_prompt(["a cat"])

    def noise(latents: Tensor, conditioning: object = empty) -> Tensor:
        return backbone.predict(latents, 300, conditioning).noise  # type: ignore[arg-type]

    with recorded(network, whole.shares(sites)) as source:
        plain = noise(noisy())
    with recorded(network, whole.shares(sites)) as foreign:
        noise(noisy(1))
    with changed(network, whole.changes(sites, source)):
        assert torch.allclose(noise(torch.cat([noisy(), noisy()])), plain.expand(2, -1, -1, -1), atol=1e-5)
        assert not torch.allclose(noise(noisy(), cat), plain, atol=1e-3)  # the text's own queries and keys stay
    with changed(network, whole.changes(sites, foreign)):
        assert not torch.allclose(noise(noisy()), plain, atol=1e-3)
    assert torch.equal(noise(noisy()), plain)


@pytest.mark.parametrize("change", [{"attention_share": 0.0}, {"prompt": "a cat"}, {"hold": 0.0}])
def test_settings_act(tried: Tried, change: dict[str, object]) -> None:
    made = run(tried, dataclasses.replace(QUICK, **change))  # type: ignore[arg-type]
    assert not np.array_equal(array(made), array(run(tried, QUICK)))


def test_the_inversion_leads_back(tried: Tried) -> None:
    exact = dataclasses.replace(QUICK, source="walked", corrections=6)
    assert run(tried, exact).scores["inversion_psnr"] > 35
    # What the source's own denoising records is then what its inversion recorded.
    recorded_one = array(run(tried, dataclasses.replace(exact, source="recorded")))
    assert np.abs(recorded_one - array(run(tried, exact))).mean() < 2


def test_the_full_size_is_painted_in_tiles(tried: Tried) -> None:
    large = Picture.of(smooth_image(128, 160, 0), "content")
    method = dataclasses.replace(QUICK, resolution="full")
    made = method.stylize([large], [Region(tried.styles[0])], RunContext(tried.backbone))[0]
    assert made.picture.size == (160, 128)


@torch.no_grad()
def test_plain_diffusers_loads_an_exported_lora_and_it_is_read_again(tried: Tried, tmp_path: Path) -> None:
    adapter = adapter_of(tried.styles[0])
    save_lora(adapter, tmp_path / "lora.safetensors")
    again = read_lora(tmp_path / "lora.safetensors")
    assert again.keys() == adapter.keys() and all(torch.equal(again[key], adapter[key]) for key in adapter)
    absent = {
        name: None
        for name, entry in json.loads((tried.folder / "model_index.json").read_text()).items()
        if entry == [None, None]
    }
    pipeline = DiffusionPipeline.from_pretrained(tried.folder, **absent)
    pipeline.load_lora_weights(str(tmp_path / "lora.safetensors"))
    backbone, cat = tried.backbone, tried.backbone.encode_prompt(["a cat"])
    theirs = type(backbone)(pipeline, "theirs", backbone.device, backbone.dtype).predict(noisy(), 500, cat).noise
    with attached(backbone.transformer, {"a": adapter}), using(backbone.transformer, "a"):
        ours = backbone.predict(noisy(), 500, cat).noise
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, backbone.predict(noisy(), 500, cat).noise, atol=1e-3)


def test_a_lora_of_another_transformer_is_refused(tried: Tried) -> None:
    wrong = {
        key: value.repeat(2, 1) if "lora_B" in key else value for key, value in adapter_of(tried.styles[0]).items()
    }
    other = dataclasses.replace(tried.styles[0], name="other", tensors=wrong)
    with pytest.raises(StyleError, match="The LoRA of the style 'other' does not fit the model"):
        run(tried, QUICK, Region(other))


def test_a_fresh_adapter_changes_nothing(tried: Tried) -> None:
    network, backbone = tried.backbone.transformer, tried.backbone
    fresh, empty = fresh_adapter(network, 4, torch.Generator().manual_seed(0)), backbone.encode_prompt([""])
    with torch.no_grad(), attached(network, {"fresh": fresh}), using(network, "fresh"):
        own = backbone.predict(noisy(), 500, empty).noise
    with torch.no_grad():
        assert torch.allclose(own, backbone.predict(noisy(), 500, empty).noise, atol=1e-6)


def test_the_published_program_needs_a_unet_and_says_so_in_one_sentence(tried: Tried) -> None:
    method, context = method_class("diffstyler-original")(), RunContext(tried.backbone)
    with pytest.raises(ModelError, match="has no UNet, which --method diffstyler-original needs") as caught:
        method.fit(CONTENT, "style", context)
    assert "\n" not in str(caught.value) and ". " not in str(caught.value)
