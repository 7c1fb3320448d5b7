"""FLUX.1 and Stable Diffusion 3.5 as Backbones: what they compute is what diffusers' own pipelines compute, and parts
that are missing or do not fit are named in one sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from safetensors.torch import save_file

from tests.command_line import run
from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_flow import SD35, WIDTH, save_tiny_flux, save_tiny_sd3, tiny_t5, tiny_vae
from velatura.errors import ModelError, SettingError
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.models.flow import FlowBackbone, flow_shift, flow_sigmas
from velatura.models.flux import EMBEDDED_GUIDANCE, FluxBackbone, image_positions, packed, unpacked
from velatura.models.loading.load import load_backbone
from velatura.models.sd3 import SD3Backbone
from velatura.picture import Picture
from velatura.regions import Region

CONTENT, STYLE = Picture.of(smooth_image(64, 80), "content"), Picture.of(smooth_image(64, 64, 1), "style")
SCHNELL = {"shift": 1.0}
SAVE: dict[str, Callable[[Path], None]] = {
    "dev": save_tiny_flux,
    "schnell": lambda folder: save_tiny_flux(folder, SCHNELL, guidance_embeds=False),
    "sd35": lambda folder: save_tiny_sd3(folder, tiny_t5(), **SD35),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in SAVE}
    for name, folder in made.items():
        SAVE[name](folder)
    return made


@pytest.fixture(params=SAVE)
def backbone(folders: dict[str, Path], request: pytest.FixtureRequest) -> FlowBackbone:
    loaded = load_backbone(str(folders[request.param]), "cpu", "fp32")
    assert isinstance(loaded, SD3Backbone if request.param == "sd35" else FluxBackbone)
    return loaded


def load(folder: Path) -> FluxBackbone:
    loaded = load_backbone(str(folder), "cpu", "fp32")
    assert isinstance(loaded, FluxBackbone)
    return loaded


def test_the_latents_are_the_vaes_own(backbone: FlowBackbone) -> None:
    latents = backbone.encode(smooth_pixels(64, 96))
    assert latents.shape == (1, 4, 8, 12) and (backbone.factor, backbone.multiple) == (8, 16)
    assert backbone.native_size == (64 if isinstance(backbone, SD3Backbone) else 1024)
    assert backbone.image_tokens((8, 12)) == 24


@torch.no_grad()
def test_one_step_is_the_one_of_diffusers_own_pipeline(backbone: FlowBackbone) -> None:
    flux = isinstance(backbone, FluxBackbone)
    noise = torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(3))
    pipe = backbone.pipeline
    pipe.set_progress_bar_config(disable=True)
    given = packed(noise, 2) if flux else noise
    kinds: dict[str, Any] = {"max_sequence_length": 512 if pipe.transformer.config.get("guidance_embeds") else 256}
    if flux:
        kinds["guidance_scale"] = EMBEDDED_GUIDANCE
    else:
        kinds["guidance_scale"] = 0.0
    made = pipe("a cat", height=64, width=96, num_inference_steps=1, latents=given, output_type="latent", **kinds)
    stepped = unpacked(made.images, (8, 12), 2) if flux else made.images
    sigma = pipe.scheduler.sigmas[:1]
    velocity = backbone.velocity(noise, sigma, backbone.encode_prompt(["a cat"]))
    assert torch.allclose(noise - sigma * velocity, stepped, atol=1e-5)
    assert velocity.std() > 0.1


@torch.no_grad()
def test_rows_of_a_batch_do_not_mix(backbone: FlowBackbone) -> None:
    latents = torch.randn((2, 4, 8, 12), generator=torch.Generator().manual_seed(4))
    conditioning = backbone.encode_prompt(["a cat", "a dog"])
    both = backbone.predict(latents, torch.tensor([100, 900]), conditioning).noise
    one = backbone.predict(latents[1:], 900, backbone.encode_prompt(["a dog"])).noise
    assert torch.allclose(both[1:], one, atol=1e-5)
    other = backbone.predict(latents[1:], 900, backbone.encode_prompt(["a cat"])).noise
    assert not torch.allclose(one, other, atol=1e-6)


def test_packing_is_a_patch_a_token() -> None:
    latents = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    tokens = packed(latents, 2)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens[1, 4], latents[1, :, 2:4, 2:4].reshape(-1))  # the second row's second patch
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 3, 4, 6))
    assert torch.equal(unpacked(tokens, (4, 6), 2), latents)
    own = FluxPipeline._prepare_latent_image_ids(1, 2, 3, torch.device("cpu"), torch.float32)
    assert torch.equal(image_positions(2, 3), own)


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15), (2176, 0.825)])
def test_the_shift_goes_with_the_size_where_the_scheduler_says_so(tokens: int, mu: float, kind: str) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=kind)
    shift = flow_shift(scheduler.config, tokens)
    assert shift == pytest.approx(mu if kind == "linear" else math.exp(mu))
    scheduler.set_timesteps(sigmas=[(999.5 - 250 * i) / 1000 for i in range(4)], mu=mu)
    ours = flow_sigmas(shift)[[999, 749, 499, 249]]
    assert torch.allclose(scheduler.sigmas[:4].double(), ours, atol=1e-6)
    assert flow_shift({"shift": 3.0}, tokens) == 3.0


def test_flux_takes_its_levels_at_its_native_size(folders: dict[str, Path]) -> None:
    assert torch.equal(load(folders["dev"]).sigmas, flow_sigmas(math.exp(1.15)))
    assert torch.equal(load(folders["schnell"]).sigmas, flow_sigmas(1.0))


def test_prompts_have_the_length_that_the_model_was_trained_on(folders: dict[str, Path]) -> None:
    for name, length in {"dev": 512, "schnell": 256}.items():
        conditioning = load(folders[name]).encode_prompt(["a cat", "a dog"])
        assert conditioning.states.shape == (2, length, 2 * WIDTH)
        assert conditioning.extra["pooled"].shape == (2, WIDTH)


@pytest.mark.parametrize("settings", [{}, {"gradient": "unet"}, {"prompt": "oil", "guidance_scale": 3.0}])
def test_guided_runs_on_it(backbone: FlowBackbone, settings: dict[str, Any]) -> None:
    method = Guided(steps=4, strength=0.5, size=64, weights={"gram": 1.0, "tv": 0.1}, **settings)
    style = method.fit(STYLE, "style", RunContext(backbone))
    one, other = (method.stylize([CONTENT], [Region(style)], RunContext(backbone))[0] for _ in "ab")
    assert one.picture.size == (80, 64) and {"gram", "tv"} <= set(one.scores)
    assert np.array_equal(np.asarray(one.picture), np.asarray(other.picture))
    unguided = Guided(steps=4, strength=0.5, size=64, weights={"gram": 1.0}, guidance_rms=0.0, **settings)
    plain = unguided.stylize([CONTENT], [Region(style)], RunContext(backbone))[0]
    assert not np.array_equal(np.asarray(one.picture), np.asarray(plain.picture))


def test_the_command_line_takes_the_folder(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("photo.png", "painting.png"):
        smooth_image(64, 64).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    quick = ("--steps", "2", "--set", "size=64", "--device", "cpu")
    command = ("stylize", "photo.png", "--style", "painting.png", "--model", str(folders["schnell"]), *quick)
    assert run(monkeypatch, *command, "--out", "made.png") == 0
    assert (tmp_path / "made.png").is_file()
    capsys.readouterr()
    assert run(monkeypatch, *command, "--method", "s2prest", "--out", "never.png") == 2
    assert "has no image encoder, which --method s2prest needs" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "never.png").exists()


def without(folder: Path, part: str) -> None:
    """A folder whose index says that it was saved without a part."""
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, part: [None, None]}))


def sentence(error: pytest.ExceptionInfo[Any]) -> str:
    """An error's message; it must be one sentence."""
    message = str(error.value)
    assert "\n" not in message and ". " not in message and message.endswith(".")
    return message


@pytest.mark.parametrize(("name", "part"), [("dev", "text_encoder_2"), ("dev", "tokenizer"), ("sd35", "tokenizer_2")])
def test_a_part_that_is_not_there_is_named(tmp_path: Path, name: str, part: str) -> None:
    SAVE[name](tmp_path)
    without(tmp_path, part)
    with pytest.raises(ModelError, match=f"has no {part}: only Stable Diffusion's family .* and FLUX.1 work") as caught:
        load_backbone(str(tmp_path), "cpu", "fp32")
    sentence(caught)


def test_a_folder_with_a_file_missing_is_one_sentence(tmp_path: Path) -> None:
    save_tiny_flux(tmp_path)
    for weights in (tmp_path / "transformer").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_backbone(str(tmp_path), "cpu", "fp32")
    assert "\n" not in str(caught.value)


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save_tiny_flux(tmp_path / "flux")
    tiny_vae(latent_channels=8).save_pretrained(tmp_path / "flux" / "vae")
    with pytest.raises(ModelError, match=r"packed latent channels: 16 in the transformer, 32 beside it") as caught:
        load_backbone(str(tmp_path / "flux"), "cpu", "fp32")
    sentence(caught)
    save_tiny_flux(tmp_path / "t5", joint_attention_dim=48)
    with pytest.raises(ModelError, match="text states: 48 in the transformer, 64 beside it"):
        load_backbone(str(tmp_path / "t5"), "cpu", "fp32")
    save_tiny_sd3(tmp_path / "sd35", tiny_t5(2 * WIDTH), joint_attention_dim=48)
    with pytest.raises(ModelError, match="text states: 48 in the transformer, 64 beside it"):
        load_backbone(str(tmp_path / "sd35"), "cpu", "fp32")
    save_tiny_sd3(tmp_path / "sd3", pooled_projection_dim=WIDTH)
    with pytest.raises(ModelError, match="pooled text: 32 in the transformer, 64 beside it"):
        load_backbone(str(tmp_path / "sd3"), "cpu", "fp32")


def test_flux_for_filling_is_refused(tmp_path: Path) -> None:
    save_tiny_flux(tmp_path, in_channels=96, out_channels=16)
    with pytest.raises(ModelError, match=r"takes 96 channels and returns 16: use FLUX\.1 dev or schnell") as caught:
        load_backbone(str(tmp_path), "cpu", "fp32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("double_blocks.0.img_attn.qkv.weight", "FLUX"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
    ],
)
def test_a_transformer_in_one_file_is_refused_without_the_hub(tmp_path: Path, key: str, family: str) -> None:
    save_file({key: torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=f"is a {family} transformer in one file") as caught:
        load_backbone(str(tmp_path / "model.safetensors"), "cpu", "fp32")
    assert "diffusers' layout" in str(caught.value)


def test_pictures_beyond_the_position_table_are_refused(folders: dict[str, Path]) -> None:
    loaded = load_backbone(str(folders["sd35"]), "cpu", "fp32")
    latents = torch.zeros(1, 4, 8, 34)
    with pytest.raises(SettingError, match=r"at most 256 px a side: lower --set size\."):
        loaded.predict(latents, 500, loaded.unconditional())
