"""The fast method: what its adapter changes and what it leaves alone, its levels, regions, mixes and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import smooth_image
from tests.tiny_house import random_adapter, tiny_house
from velatura.diffusion.denoising import denoise
from velatura.diffusion.even_levels import EvenLevelsSampler, even_timesteps
from velatura.errors import ModelError, SettingError, StyleError
from velatura.evaluation import colour_distance, edge_f1
from velatura.methods import fast_painting
from velatura.methods.base import Stylization
from velatura.methods.context import RunContext
from velatura.methods.fast import Fast, painted_style
from velatura.methods.latent_grid import grid_channels
from velatura.models.backbone import Prediction
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_adapter import DELTA, STYLE_MAP, UP, adapted, fast_unet, fresh_adapter, v_beside
from velatura.models.house.fast_painter import ADAPTER_FILE, FastPainter, load_adapter, save_adapter
from velatura.models.loading.catalogue import HOUSE_FOLDER
from velatura.models.loading.load import load_backbone
from velatura.models.noise_schedule import predict_noise, split_v
from velatura.picture import Picture, image_to_pixels
from velatura.regions import Placement, Region, parse_query
from velatura.registry import method_class
from velatura.span import Span
from velatura.style import Style

QUICK = Fast(size=64)
CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
OTHER = Picture.of(smooth_image(96, 64, 1), "style")


def style(picture: Picture = OTHER) -> Style:
    return QUICK.fit(picture, picture.name, RunContext(tiny_house()))


def run(method: Fast, *regions: Region, seed: int = 0) -> Stylization:
    return method.stylize([CONTENT], regions or [Region(style())], RunContext(tiny_house(), seed))[0]


def array(picture: Stylization | Image.Image) -> np.ndarray:
    image = picture.picture if isinstance(picture, Stylization) else picture
    return np.asarray(image.convert("RGB")).astype(int)


# The network


def test_a_fresh_adapter_changes_nothing_whatever_stands_beside() -> None:
    torch.manual_seed(0)
    house = tiny_house()
    unet = fast_unet(house.unet)
    weights = dict(unet.named_parameters())
    unet.load_state_dict(adapted(weights, fresh_adapter(weights, 4)))
    noisy, beside = torch.randn(2, 2, 8, 8, 8)
    states = house.unconditional().states.expand(2, -1, -1)
    timesteps = torch.tensor([100, 800])
    expected = house.unet(noisy, timesteps, states).sample
    found = v_beside(unet, noisy, beside, timesteps, (states, torch.randn(2, 100)))
    assert torch.allclose(found, expected, atol=1e-5)


def test_an_adapter_adds_products_and_changes() -> None:
    unet = fast_unet(tiny_house().unet)
    weights = {name: value.detach() for name, value in unet.named_parameters()}
    adapter = fresh_adapter(weights, 3)
    name = next(key.removesuffix(UP) for key in adapter if key.endswith(UP))
    adapter[name + UP].fill_(1.0)
    rows = adapted(weights, adapter)[name] - weights[name]
    assert torch.linalg.matrix_rank(rows.flatten(1)) <= 3 and rows.abs().max() > 0
    bias = "conv_out.bias"
    adapter[bias + DELTA].fill_(0.5)
    assert torch.allclose(adapted(weights, adapter)[bias], weights[bias] + 0.5)
    assert {key for key in adapter if key.startswith(STYLE_MAP)} and f"conv_in.weight{DELTA}" in adapter
    del adapter[bias + DELTA]
    with pytest.raises(ModelError, match="does not fit this UNet"):
        adapted(weights, adapter)


def test_content_and_style_vector_act_through_an_adapter() -> None:
    painter = tiny_house().fast_painter
    assert painter is not None
    torch.manual_seed(1)
    noisy, beside, other = torch.randn(3, 1, 8, 8, 8)
    first, second = (painted_style(style(Picture.of(smooth_image(64, 64, n), "s")), tiny_house()) for n in (1, 5))
    v = painter.v(noisy, 500, beside, first)
    assert torch.equal(v, painter.v(noisy, 500, beside, first))
    assert not torch.allclose(v, painter.v(noisy, 500, other, first), atol=1e-4)
    assert not torch.allclose(v, painter.v(noisy, 500, beside, second), atol=1e-4)


def test_the_adapters_file_is_half_precision_and_knows_its_unet(tmp_path: Path) -> None:
    adapter, path = random_adapter(tiny_house().unet), tmp_path / "fast_adapter.safetensors"
    save_adapter(path, adapter, "abc")
    read = load_adapter(path, "abc")
    assert all(torch.equal(read[name], value.half()) for name, value in adapter.items())
    with pytest.raises(ModelError, match="trained on another UNet"):
        load_adapter(path, "other")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="cannot be read"):
        load_adapter(path, "abc")


def test_houses_own_adapter_fits_and_is_small() -> None:
    path = HOUSE_FOLDER / ADAPTER_FILE
    assert path.stat().st_size < 12_000_000
    house = load_backbone("house", "cpu", "fp32")
    assert isinstance(house, HouseBackbone) and house.fast_painter is not None
    fitted = QUICK.fit(OTHER, "style", RunContext(house))
    painted = QUICK.stylize([CONTENT], [Region(fitted)], RunContext(house))[0]
    kept = edge_f1(image_to_pixels(painted.picture), image_to_pixels(CONTENT.image))
    moved = colour_distance(image_to_pixels(painted.picture), image_to_pixels(OTHER.image))
    assert kept > 0.3 and moved < colour_distance(image_to_pixels(CONTENT.image), image_to_pixels(OTHER.image))


# Levels


def test_levels_are_even_and_end_at_a_clean_picture() -> None:
    assert even_timesteps(800, 4) == (800, 600, 400, 200)
    assert even_timesteps(2, 4) == (2, 1) and even_timesteps(0, 4) == ()
    schedule = tiny_house().schedule
    sampler = EvenLevelsSampler(schedule, 800, 4)
    torch.manual_seed(0)
    x0, start = torch.randn(2, 1, 8, 4, 4)

    def towards_x0(latents: torch.Tensor, timestep: int) -> Prediction:
        return Prediction(predict_noise(latents, x0, float(schedule.alphas_cumprod[timestep])))

    assert torch.allclose(denoise(towards_x0, start, sampler), x0, atol=1e-5)


# The method


def test_it_is_found_by_name_and_takes_four_calls() -> None:
    method = method_class("fast")()
    assert isinstance(method, Fast) and method.steps == 4
    made = run(QUICK)
    assert made.scores["unet_evaluations"] == 4 and made.picture.size == CONTENT.size


def test_a_style_vector_is_the_first_of_an_embedding_and_its_word_that_of_the_picture() -> None:
    house, pixels = tiny_house(), image_to_pixels(OTHER.image)
    vector = house.style_vector(pixels)
    assert torch.equal(vector, house.encode_image(pixels)[:, :100])
    expected = house.encode_prompt(["a painting in the style of *"], house.style_word(pixels)).states
    assert torch.allclose(house.painted_style(vector).states, expected, atol=1e-6)


def test_a_seed_repeats_a_picture_and_the_base_unet_stays_bit_identical() -> None:
    before = {name: value.clone() for name, value in tiny_house().unet.state_dict().items()}
    first, second, other = run(QUICK), run(QUICK), run(QUICK, seed=1)
    assert np.array_equal(array(first), array(second)) and not np.array_equal(array(first), array(other))
    assert all(torch.equal(value, before[name]) for name, value in tiny_house().unet.state_dict().items())


def test_strength_zero_is_the_content_and_a_small_one_a_small_change() -> None:
    still = run(dataclasses.replace(QUICK, strength=0.0))
    assert (
        np.abs(array(still) - np.asarray(CONTENT.image, dtype=float)).max() <= 1
        and still.scores["unet_evaluations"] == 0
    )
    changes = [
        np.abs(array(run(dataclasses.replace(QUICK, strength=strength))) - array(still)).mean()
        for strength in (0.001, 0.05, 0.3, 0.9)
    ]
    assert changes[0] < 0.2 and changes == sorted(changes)


def test_strength_zero_is_the_photo_at_its_own_size() -> None:
    large = Picture.of(smooth_image(100, 130, 3), "large")
    made = dataclasses.replace(QUICK, strength=0.0).stylize([large], [Region(style())], RunContext(tiny_house()))[0]
    assert np.array_equal(array(made), np.asarray(large.image)) and "fast_networks" not in made.manifest


def test_the_palette_comes_first_and_colours_last() -> None:
    wanted = image_to_pixels(OTHER.image)
    content = run(dataclasses.replace(QUICK, colours="content"))
    painted = run(dataclasses.replace(QUICK, colours="style"))
    near, far = (colour_distance(image_to_pixels(each.picture), wanted) for each in (painted, content))
    assert near < far
    assert content.manifest["settings"]["palette"] == 0.0


def test_regions_leave_the_rest_and_blend() -> None:
    box = parse_query("polygon:0,0;32,0;32,80;0,80")
    method = dataclasses.replace(QUICK, region_size="picture", refine=0.0)
    one = run(method, Region(style(), box))
    kept = array(CONTENT.image)[:, 34:]
    assert np.array_equal(array(one)[:, 34:], kept)
    assert not np.array_equal(array(one)[:, :28], array(CONTENT.image)[:, :28])
    other = style(Picture.of(smooth_image(64, 64, 7), "other"))
    both = run(method, Region(other), Region(style(), box))
    assert both.scores["unet_evaluations"] == 8


def test_a_span_that_is_over_leaves_the_way_to_the_content() -> None:
    never = run(QUICK, Region(style(), span=Span(0.0, 0.2)))
    assert never.scores["unet_evaluations"] == 1


def test_mixes_lie_between_their_styles() -> None:
    first, second = style(), style(Picture.of(smooth_image(64, 64, 7), "other"))
    mixed = QUICK.mix([(first, 1.0), (second, 3.0)])
    vector = 0.25 * first.tensors["vector"] + 0.75 * second.tensors["vector"]
    found, expected = painted_style(mixed, tiny_house()), tiny_house().painted_style(vector)
    assert torch.allclose(found.states, expected.states, atol=1e-5) and torch.allclose(found.vector, vector)
    assert run(QUICK, Region(mixed)).picture.size == CONTENT.size


def test_models_without_an_adapter_and_styles_without_a_vector_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = dataclasses.replace(style(), tensors={"picture.00": style().tensors["picture.00"]})
    with pytest.raises(StyleError, match="holds no vector of a picture"):
        run(QUICK, Region(bare))
    with pytest.raises(SettingError, match="no adapter joins: leave out ip_adapter"):
        Fast(ip_adapter="a.safetensors")
    monkeypatch.setattr(tiny_house(), "fast_painter", None)
    with pytest.raises(
        ModelError, match="no fast adapter, which --method fast, --preset quick and guided's start=fast need"
    ):
        style()
    house = tiny_house()
    fresh = HouseBackbone(house.pipeline, "tiny", house.device, house.dtype)
    assert fresh.fast_painter is None


def test_a_models_folder_brings_its_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = tiny_house()
    fresh = HouseBackbone(house.pipeline, "tiny", house.device, house.dtype)
    save_adapter(tmp_path / "fast_adapter.safetensors", random_adapter(house.unet), house.fingerprint)
    monkeypatch.setattr(type(house.pipeline), "name_or_path", str(tmp_path))
    assert isinstance(fresh.fast_painter, FastPainter)


def test_v_splits_into_x0_and_noise() -> None:
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 2, 8, 4, 4)
    abars = torch.tensor([0.9, 0.2])
    root, rest = abars.sqrt()[:, None, None, None], (1 - abars).sqrt()[:, None, None, None]
    found = split_v(root * x0 + rest * noise, root * noise - rest * x0, abars)
    assert torch.allclose(found[0], x0, atol=1e-5) and torch.allclose(found[1], noise, atol=1e-5)


def test_a_painting_adds_nothing_of_the_autoencoders_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    house, context = tiny_house(), RunContext(tiny_house())
    latents = torch.randn(1, 8, 8, 10, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(fast_painting, "denoise", lambda *_, **__: latents + 1)
    placement = Placement.of([Region(style())], Picture.of(smooth_image(64, 80, 0), "content"))
    painted = fast_painting.painted_latents(
        latents, placement, [painted_style(style(), house)], fast_painting.Painting(), context
    )
    channels = grid_channels(house, latents)
    assert 0 < channels.sum() <= 8
    assert torch.allclose(painted - latents, (1 - channels)[:, None, None].expand_as(painted[0])[None], atol=1e-5)
