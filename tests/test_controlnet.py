"""ControlNet on tiny random weights in diffusers' layout: what it changes, when, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from torch import Tensor

from tests.command_line import run
from tests.conftest import smooth_image
from tests.test_ip_adapter import CONTENT, QUICK, STYLE, guided, loaded, made_by, pipeline_of, pixels, stylized
from tests.tiny_adapters import save_controlnet, save_ip_adapter, save_sd15, save_sdxl, weights_of
from tests.tiny_house import tiny_house
from velatura.errors import ModelError, SettingError, VelaturaError
from velatura.methods.adapters import controlling
from velatura.methods.adapters.control import control_picture
from velatura.methods.base import Method
from velatura.methods.context import RunContext
from velatura.models.adapters.controlnet import Control, RunPlace
from velatura.models.adapters.weights import digest_of
from velatura.models.latent import LatentBackbone
from velatura.picture import Picture, image_to_pixels
from velatura.regions import Region
from velatura.regions.query import ImageQuery
from velatura.registry import method_class
from velatura.span import Span


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> LatentBackbone:
    return loaded(save_sd15(tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sd15: LatentBackbone) -> str:
    return str(save_controlnet(tmp_path_factory.mktemp("controlnet"), sd15.unet))


@pytest.mark.parametrize("name", sorted(QUICK))
def test_every_latent_method_takes_it_and_a_scale_of_0_changes_no_bit(name: str, tmp_path: Path) -> None:
    backbone = tiny_house()
    before = dict(weights_of(backbone.unet))
    method, context = method_class(name)(**QUICK[name]), RunContext(backbone)
    style = method.fit(STYLE, "style", context)
    folder = str(save_controlnet(tmp_path, backbone.unet))

    def made(**settings: Any) -> Any:
        return pixels(replace(method, **settings).stylize([CONTENT, CONTENT], [Region(style)], context)[0])

    plain = made()
    assert not np.array_equal(plain, made(controlnet=folder))
    assert np.array_equal(plain, made(controlnet=folder, control_scale=0.0))
    assert np.array_equal(plain, made())  # with the inversions of all runs kept in one cache
    after = backbone.unet.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_it_is_what_diffusers_computes(sd15: LatentBackbone, folder: str) -> None:
    network, states = ControlNetModel.from_pretrained(folder), sd15.encode_prompt(["a painting"])
    latents, control = torch.randn(2, 4, 8, 8), torch.rand(1, 3, 64, 64)
    text = states.states.expand(2, -1, -1)
    with torch.no_grad():
        down, middle = network(latents, 500, text, control.repeat(2, 1, 1, 1), 0.7, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        theirs = sd15.unet(latents, 500, text, **residuals).sample
        with sd15.joined_by([Control(network, control, 0.7)]):
            ours = sd15.predict(latents, 500, states).noise
        plain = sd15.predict(latents, 500, states).noise
    assert torch.equal(ours, theirs) and not torch.allclose(ours, plain, atol=1e-3)


def test_a_named_network_is_hashed_once_for_all_runs(
    sd15: LatentBackbone, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []

    def count(weights: Any) -> str:
        hashed.append(len(weights))
        return digest_of(weights)

    monkeypatch.setattr(controlling, "digest_of", count)
    context = RunContext(sd15)
    made = [stylized(guided(controlnet=folder), sd15, context).manifest["adapters"] for _ in range(2)]
    assert made[0] == made[1] and len(hashed) == 1


def test_rows_of_guidance_follow_their_own_content(sd15: LatentBackbone, folder: str) -> None:
    network, states = ControlNetModel.from_pretrained(folder), sd15.encode_prompt(["a painting"])
    latents, control = torch.randn(2, 4, 8, 8), torch.rand(2, 3, 64, 64)
    with torch.no_grad(), sd15.joined_by([Control(network, control)]):
        both = sd15.predict(torch.cat([latents, latents]), 500, states).noise
    assert torch.allclose(both[:2], both[2:], atol=1e-6)
    with torch.no_grad(), sd15.joined_by([Control(network, control[1:])]):
        second = sd15.predict(latents[1:], 500, states).noise
    assert torch.allclose(both[1:2], second, atol=1e-5)


def calls_of(sd15: LatentBackbone, folder: str, settings: dict[str, Any]) -> tuple[int, int]:
    """How many calls of the ControlNet and of the UNet a run of 4 denoising steps and 4 of inversion makes."""
    calls: list[str] = []
    context = RunContext(sd15)
    method = guided(controlnet=folder, **settings)
    method = replace(method, steps=4, strength=1.0)
    style = method.fit(STYLE, "style", context)
    network = ControlNetModel.from_pretrained(folder)
    network.register_forward_hook(lambda *_: calls.append("control"))
    context = replace(context, given=replace(context.given, controlnet=network))
    hook = sd15.unet.register_forward_hook(lambda *_: calls.append("unet"))
    replace(method, controlnet="").stylize([CONTENT], [Region(style)], context)
    hook.remove()
    return calls.count("control"), calls.count("unet")


@pytest.mark.parametrize(
    ("span", "count"), [((0.0, 1.0), 4), ((0.0, 0.5), 2), ((0.5, 1.0), 2), ((0.25, 0.5), 1), ((0.3, 0.5), 0)]
)
def test_it_acts_in_its_span_of_the_denoising_steps_and_in_no_inversion(
    sd15: LatentBackbone, folder: str, span: tuple[float, float], count: int
) -> None:
    settings = {"control_start": span[0], "control_end": span[1], "guidance_scale": 1.0}
    assert calls_of(sd15, folder, settings) == (count, 8)


def test_outside_its_span_a_call_is_the_unets_own(sd15: LatentBackbone, folder: str) -> None:
    network, states = ControlNetModel.from_pretrained(folder), sd15.encode_prompt(["a painting"])
    latents, control = torch.randn(1, 4, 8, 8), torch.rand(1, 3, 64, 64)
    plain = sd15.predict(latents, 500, states).noise
    with sd15.joined_by([Control(network, control, span=Span(0.0, 0.5), place=RunPlace(0.5))]):
        assert torch.equal(plain, sd15.predict(latents, 500, states).noise)


def step_picture() -> Tensor:
    """Pixels (1, 3, 64, 64), black on the left and white on the right."""
    return torch.cat([-torch.ones(1, 3, 64, 32), torch.ones(1, 3, 64, 32)], 3)


def test_edges_are_white_on_black() -> None:
    canny = control_picture("canny", None, step_picture())
    assert canny.shape == (1, 3, 64, 64) and set(canny.unique().tolist()) == {0.0, 1.0}
    assert canny[..., 28:36].amax(-1).min() == 1 and canny[..., :24].max() == 0 == canny[..., 40:].max()
    hed = control_picture("hed", None, step_picture())
    assert hed.min() >= 0 and hed.max() <= 1
    assert hed[..., 8:56, 30:34].mean() > 3 * hed[..., 8:56, 8:16].mean()


def test_a_given_picture_is_scaled_and_cut_to_the_part_that_is_worked_on(tmp_path: Path) -> None:
    depth = Image.fromarray(np.repeat(np.arange(128, dtype=np.uint8)[None] * 2, 96, 0))
    depth.save(tmp_path / "depth.png")
    whole = control_picture(str(tmp_path / "depth.png"), None, torch.zeros(1, 3, 48, 64))
    assert whole.shape == (1, 3, 48, 64) and whole.min() >= 0 and whole.max() <= 1
    assert torch.allclose(whole[0, 0, 0], torch.linspace(0, 1, 64), atol=0.02)
    right = control_picture("canny", depth, torch.zeros(1, 3, 48, 32), (0.5, 0.0, 1.0, 1.0))
    assert torch.allclose(right, whole[..., 32:], atol=0.02)


def test_a_region_is_held_by_its_own_part_of_a_given_picture(sd15: LatentBackbone, folder: str, tmp_path: Path) -> None:
    content, mask = Picture.of(smooth_image(256, 256), "content"), Image.new("L", (256, 256))
    mask.paste(255, (150, 150, 180, 180))
    smooth_image(128, 128, 7).save(tmp_path / "depth.png")
    method, context = guided(controlnet=folder, control=str(tmp_path / "depth.png")), RunContext(sd15)
    style = method.fit(STYLE, "style", context)
    seen: list[Tensor] = []
    network = ControlNetModel.from_pretrained(folder)
    network.controlnet_cond_embedding.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][:1]))
    context = replace(context, given=replace(context.given, controlnet=network))
    method = replace(method, controlnet="")
    made = method.stylize([content], [Region(style, ImageQuery(mask))], context)[0]
    left, top, right, bottom = made.manifest["crops"][0]["box"]
    whole = Image.open(tmp_path / "depth.png").resize((256, 256), Image.Resampling.BICUBIC)
    size = (seen[0].shape[3], seen[0].shape[2])
    expected = image_to_pixels(whole.crop((left, top, right, bottom)), size)
    assert (right - left) < 200 and (seen[0] - (expected + 1) / 2).abs().mean() < 0.02


def test_on_xl_and_beside_an_ip_adapter(tmp_path: Path) -> None:
    backbone = loaded(save_sdxl(tmp_path / "sdxl"))
    control = {"controlnet": str(save_controlnet(tmp_path / "control", backbone.unet))}
    adapter = {"ip_adapter": str(save_ip_adapter(tmp_path / "adapter", backbone.unet))}
    settings: list[dict[str, Any]] = [{}, control, adapter, {**control, **adapter}]
    made = [stylized(guided(**each), backbone) for each in settings]
    assert len({pixels(each).tobytes() for each in made}) == 4
    assert [sorted(each.manifest.get("adapters", {})) for each in made] == [
        [],
        ["controlnet"],
        ["ip_adapter"],
        ["controlnet", "ip_adapter"],
    ]


def test_the_kinds_of_control_differ(sd15: LatentBackbone, folder: str, tmp_path: Path) -> None:
    smooth_image(64, 80, 9).save(tmp_path / "depth.png")
    kinds = ("canny", "hed", str(tmp_path / "depth.png"))
    made = [pixels(stylized(guided(controlnet=folder, control=kind), sd15)) for kind in kinds]
    assert len({each.tobytes() for each in made}) == 3


def test_a_pipeline_takes_diffusers_names(sd15: LatentBackbone, folder: str) -> None:
    pipeline, network = pipeline_of(sd15), ControlNetModel.from_pretrained(folder)
    depth = smooth_image(64, 80, 9)
    plain, held = made_by(pipeline), made_by(pipeline, controlnet=network, controlnet_conditioning_scale=0.5)
    assert not np.array_equal(plain, held)
    assert np.array_equal(held, made_by(pipeline, controlnet=folder, control_scale=0.5))
    assert not np.array_equal(held, made_by(pipeline, controlnet=network, control_image=depth))
    late = made_by(pipeline, controlnet=network, control_guidance_start=0.5, control_guidance_end=1.0)
    assert np.array_equal(late, made_by(pipeline, controlnet=folder, control_start=0.5))
    with pytest.raises(SettingError, match="control_image acts on the ControlNet whose folder controlnet names"):
        made_by(pipeline, control_image=depth)


def _absent(folder: Path, _unet: Any) -> None:
    folder.rmdir()


def _damaged(folder: Path, _unet: Any) -> None:
    (folder / "config.json").write_text("{")


def _of_another_model(folder: Path, _unet: Any) -> None:
    save_controlnet(folder, tiny_house().unet)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_absent, "There is no ControlNet in .*: give the folder"),
        (_damaged, "The ControlNet in .* cannot be loaded"),
        (_of_another_model, "was made for another family of models"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(
    sd15: LatentBackbone, tmp_path: Path, make: Callable[[Path, Any], None], sentence: str
) -> None:
    folder = tmp_path / "control"
    folder.mkdir()
    make(folder, sd15.unet)
    with pytest.raises(ModelError, match=sentence) as caught:
        stylized(guided(controlnet=str(folder)), sd15)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"control": "nowhere.png"}, "control must be canny, hed or a picture .* not 'nowhere.png'"),
        ({"controlnet": "", "control": "hed"}, "control acts on the ControlNet whose folder controlnet names"),
        ({"controlnet": "", "control_end": 0.5}, "control_end acts on the ControlNet"),
        ({"control_scale": 9.0}, "control_scale must be from 0 to 5"),
        (
            {"control_start": 0.5, "control_end": 0.5},
            "The span of control_start and control_end must lie in 0-1 and rise",
        ),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(
    sd15: LatentBackbone, folder: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(VelaturaError, match=sentence):
        stylized(guided(**{"controlnet": folder, **settings}), sd15)


def test_a_given_picture_is_of_one_photo(sd15: LatentBackbone, folder: str, tmp_path: Path) -> None:
    smooth_image(64, 80, 9).save(tmp_path / "depth.png")
    method: Method = guided(controlnet=folder, control=str(tmp_path / "depth.png"))
    style = method.fit(STYLE, "style", RunContext(sd15))
    with pytest.raises(SettingError, match="A control picture belongs to one photo"):
        method.stylize([CONTENT, CONTENT], [Region(style)], RunContext(sd15))


def test_on_the_command_line(
    sd15: LatentBackbone, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CONTENT.image.save("photo.png")
    STYLE.image.save("painting.png")
    call = ["stylize", "photo.png", "-s", "painting.png", "--model", sd15.name, "--dtype", "fp32", "--steps", "2"]
    call += ["--set", "size=64", "--set", f"controlnet={folder}", "--set", "control=hed", "--set", "control_end=0.6"]
    assert run(monkeypatch, *call, "--out", "out.png") == 0
    assert Path("out.png").is_file()
