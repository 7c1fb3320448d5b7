"""StyleID: what it injects, what it leaves alone, and the content as its own style."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import smooth_image
from tests.test_parity import PARITY, needs_recordings
from tests.tiny_house import tiny_house
from velatura.cache import Cache
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.errors import ModelError, SettingError, StyleError
from velatura.methods.base import Stylization
from velatura.methods.context import RunContext
from velatura.methods.styleid import StyleID, injected_layers
from velatura.models.loading.load import load_backbone
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.regions import Region, parse_query
from velatura.registry import method_class
from velatura.span import Span
from velatura.style import Style

QUICK = StyleID(steps=5, size=64)
CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
OTHER = Picture.of(smooth_image(96, 64, 1), "style")


def style(picture: Picture = OTHER) -> Style:
    return QUICK.fit(picture, picture.name, RunContext(tiny_house()))


def run(method: StyleID, *regions: Region) -> Stylization:
    return method.stylize([CONTENT], regions or [Region(style())], RunContext(tiny_house()))[0]


def array(picture: Stylization | Image.Image) -> np.ndarray:
    image = picture.picture if isinstance(picture, Stylization) else picture
    return np.asarray(image.convert("RGB")).astype(int)


@torch.no_grad()
def reconstruction(steps: int, corrections: int) -> tuple[Tensor, Image.Image]:
    """The content's noise, and the picture that its inversion leads back to."""
    backbone = tiny_house()
    predict = conditional(backbone, backbone.unconditional())
    levels = backbone.schedule.ddim_levels(steps)
    noisiest = invert(predict, backbone.encode(image_to_pixels(CONTENT.image)), levels, corrections).noisiest
    return noisiest, pixels_to_image(backbone.decode(ddim_denoise(predict, noisiest, levels)))


def test_it_is_found_by_name_with_the_papers_settings() -> None:
    method = method_class("styleid")()
    assert isinstance(method, StyleID) and (method.steps, method.gamma, method.temperature) == (50, 0.75, 1.5)
    assert (method.corrections, method.colour_share) == (0, None)


def test_the_content_as_its_own_style_is_its_reconstruction() -> None:
    method = dataclasses.replace(QUICK, gamma=1.0, temperature=1.0, corrections=12)
    _, expected = reconstruction(5, 12)
    assert np.abs(array(run(method, Region(style(CONTENT)))) - array(expected)).max() <= 1
    assert np.abs(array(run(method)) - array(expected)).max() > 3


def test_strength_zero_is_the_content() -> None:
    backbone = tiny_house()
    with torch.no_grad():
        expected = pixels_to_image(backbone.decode(backbone.encode(image_to_pixels(CONTENT.image))))
    still = run(dataclasses.replace(QUICK, strength=0.0))
    assert np.array_equal(array(still), array(expected)) and still.scores["unet_evaluations"] == 0


def test_the_unet_is_left_bit_identical() -> None:
    unet = tiny_house().unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    run(QUICK)
    after = unet.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[key], after[key]) for key in before)
    assert not any(module._forward_hooks for module in unet.modules())


@pytest.mark.parametrize("change", [{"temperature": 3.0}, {"gamma": 0.0}, {"adain": 0.0}, {"strength": 0.6}])
def test_each_setting_acts(change: dict[str, float]) -> None:
    assert not np.array_equal(array(run(dataclasses.replace(QUICK, **change))), array(run(QUICK)))


def test_what_is_injected() -> None:
    layers = injected_layers(tiny_house(), (8, 8))
    layer = layers[0]
    content = {each.queries: torch.full((1, 4, 8), 2.0) for each in layers}
    other = {name: torch.ones(1, 6, 8) for each in layers for name in (each.keys, each.values)}
    changes = StyleID().injection(layers, content, other)
    assert set(changes) == {name for each in layers for name in (each.queries, each.keys, each.values)}
    own = torch.full((1, 4, 8), -2.0)
    assert torch.allclose(changes[layer.queries](own), 1.5 * (0.75 * torch.full_like(own, 2.0) + 0.25 * own))
    assert torch.equal(changes[layer.keys](own), other[layer.keys])
    assert torch.equal(changes[layer.values](own), other[layer.values])


def test_the_start_takes_the_styles_statistics() -> None:
    flat = Picture.of(Image.new("RGB", (64, 64), (250, 200, 40)), "flat")
    warm = array(run(QUICK, Region(style(flat)))).mean((0, 1))
    dark = Picture.of(Image.new("RGB", (64, 64), (10, 20, 90)), "dark")
    assert not np.allclose(warm, array(run(QUICK, Region(style(dark)))).mean((0, 1)), atol=0.5)


def test_a_region_leaves_the_rest_the_contents_bytes_and_two_styles_keep_their_sides() -> None:
    left, right = (parse_query(f"polygon:{x},0;{x + 40},0;{x + 40},64;{x},64") for x in (0, 40))
    one = array(run(QUICK, Region(style(), right)))
    content = array(CONTENT.image)
    assert np.array_equal(one[:, :38], content[:, :38]) and not np.array_equal(one[:, 44:], content[:, 44:])
    both = array(run(QUICK, Region(style(CONTENT), left), Region(style(), right)))
    assert not np.array_equal(both[:, :38], content[:, :38])
    nothing = Region(style(), parse_query("polygon:0,0;1,0;1,1;0,1"), weight=0.0)
    assert np.array_equal(array(run(QUICK, nothing)), content)


def test_a_span_that_ends_keeps_what_it_made_and_the_weight_acts_once() -> None:
    whole = array(run(QUICK))
    still = array(run(dataclasses.replace(QUICK, strength=0.0)))
    early = array(run(QUICK, Region(style(), span=Span(0.0, 0.4))))
    assert np.abs(early - still).mean() > 0.3 * np.abs(whole - still).mean()
    half = array(run(QUICK, Region(style(), weight=0.5)))
    assert np.abs(half - (whole + array(CONTENT.image)) / 2).max() <= 1


def test_the_cost_is_three_samples_a_step_whether_or_not_the_inversions_are_kept() -> None:
    context = RunContext(tiny_house(), cache=Cache())
    found = [QUICK.stylize([CONTENT], [Region(style())], context)[0] for _ in "ab"]
    assert [result.scores["unet_evaluations"] for result in found] == [15, 15]
    assert np.array_equal(array(found[0]), array(found[1]))


def test_a_style_is_its_picture(tmp_path: Path) -> None:
    own = style()
    assert own.method == "styleid" and list(own.tensors) == ["picture.00"] and own.card["sha256"] == OTHER.digest
    own.save(tmp_path / "style.safetensors")
    kept = Style.load(tmp_path / "style.safetensors")
    assert np.array_equal(array(run(QUICK, Region(kept))), array(run(QUICK)))
    with pytest.raises(StyleError, match="has no picture"):
        run(QUICK, Region(dataclasses.replace(own, tensors={})))


def test_a_model_without_attention_is_refused() -> None:
    class Other:
        name = "odd"

    with pytest.raises(ModelError, match="odd has no UNet or transformer with self-attention, which"):
        QUICK.check_backbone(Other())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gamma": 1.5}, "gamma must be from 0 to 1"),
        ({"adain": -0.1}, "adain must be from 0 to 1"),
        ({"temperature": 0.0}, "temperature must be over 0 and at most 100"),
        ({"corrections": -1}, "corrections must be from 0"),
        ({"strength": 2.0}, "from 0 to 1"),
        ({"size": 8}, "size must be 0 or from 64"),
    ],
)
def test_bad_settings_are_one_sentence(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        StyleID(**change)  # type: ignore[arg-type]


@needs_recordings
def test_on_stable_diffusion_the_layers_are_6_to_11_and_it_runs() -> None:
    backbone = load_backbone(str(PARITY / "diffstyler/tiny"), device="cpu", dtype="fp32")
    names = [layer.name for layer in injected_layers(backbone, (8, 8))]
    assert names == [f"up_blocks.{b}.attentions.{a}.transformer_blocks.0.attn1" for b in (2, 3) for a in range(3)]
    context = RunContext(backbone)
    made = StyleID(steps=3, size=64).fit(OTHER, "style", context)
    result = StyleID(steps=3, size=64).stylize([CONTENT], [Region(made)], context)[0]
    assert result.picture.size == CONTENT.size and result.scores["unet_evaluations"] == 9
