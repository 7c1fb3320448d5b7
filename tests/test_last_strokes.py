"""Strokes over the results of S2PreST, InST and DiffStyler: their share, colours, regions, and who has none."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from kornia.color import rgb_to_lab

from tests.conftest import smooth_image
from tests.test_diffstyler import QUICK as DIFFSTYLER
from tests.test_s2prest import QUICK as S2PREST
from tests.tiny_house import stroked_house, tiny_house
from velatura.errors import SettingError
from velatura.methods import base
from velatura.methods.base import Method
from velatura.methods.context import RunContext
from velatura.methods.strokes.last import LastStrokes
from velatura.methods.strokes.vectors import style_vector_of
from velatura.models.house.backbone import HouseBackbone
from velatura.models.latent import LatentBackbone
from velatura.picture import Picture
from velatura.regions import Region, parse_query
from velatura.registry import method_class
from velatura.span import Span
from velatura.style import Style
from velatura.style.mixing import mixed_style
from velatura.style.pictures import picture_tensor

CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
LEFT = parse_query("polygon:0,0;32,0;32,64;0,64")
METHODS = pytest.mark.parametrize("method", [S2PREST, DIFFSTYLER], ids=["s2prest", "diffstyler"])


@pytest.fixture
def stroked(monkeypatch: pytest.MonkeyPatch) -> HouseBackbone:
    """The tiny house model with Magenta's own network for the strokes."""
    return stroked_house(monkeypatch)


@lru_cache(maxsize=4)
def fitted(method: Method, seed: int = 1) -> Style:
    return method.fit(Picture.of(smooth_image(80, 80, seed), "style"), "style", RunContext(tiny_house()))


def made(method: Method, *regions: Region, **settings: Any) -> np.ndarray:
    regions = regions or (Region(fitted(method)),)
    chosen = dataclasses.replace(method, **settings)
    picture = chosen.stylize([CONTENT], regions, RunContext(tiny_house()))[0].picture
    return np.asarray(picture.convert("RGB")).astype(int)


@METHODS
def test_the_share_goes_from_the_methods_own_result_to_the_networks(method: Method, stroked: HouseBackbone) -> None:
    own, half, whole = (made(method, strokes=share) for share in (0.0, 0.5, 1.0))
    assert np.abs(whole - own).mean() > 2
    inside = (own > 0) & (own < 255) & (whole > 0) & (whole < 255)
    assert np.abs(half - (own + whole) / 2)[inside].max() <= 1
    stroked.stroke_network = None
    assert np.array_equal(made(method), own)  # where nothing is recommended, none is asked for


@METHODS
def test_a_small_strength_has_few_strokes(method: Method, stroked: HouseBackbone) -> None:
    still = made(method, strength=0.0, strokes=0.0)
    assert np.array_equal(made(method, strength=0.0, strokes=1.0), still)
    change = {
        share: np.abs(made(method, strength=share, strokes=1.0) - made(method, strength=share, strokes=0.0)).mean()
        for share in (0.2, 0.6)
    }
    assert 0 < change[0.2] < change[0.6]


@METHODS
def test_in_the_contents_colours_strokes_are_in_light_and_dark(method: Method, stroked: HouseBackbone) -> None:
    photo = _lab(np.asarray(CONTENT.image))
    plain, strokes, styled = (
        _lab(made(method, colours=colours, strokes=share))
        for colours, share in (("content", 0.0), ("content", 1.0), ("style", 1.0))
    )
    # Not quite the photo's own: where strokes are light or dark, sRGB has less room for chroma.
    assert (strokes[1:] - photo[1:]).abs().mean() < 0.3 * (styled[1:] - photo[1:]).abs().mean()
    assert (strokes[0] - plain[0]).abs().mean() > 2


@METHODS
@pytest.mark.parametrize("colours", ["content", 0.5, "style", "made"])
def test_a_breath_of_strokes_changes_next_to_nothing(
    method: Method, colours: float | str, stroked: HouseBackbone
) -> None:
    none, breath = (made(method, colours=colours, strokes=share) for share in (0.0, 0.002))
    assert np.abs(none - breath).max() <= 2


def test_a_part_of_the_styles_colours_lies_between(stroked: HouseBackbone) -> None:
    photo, part, style = (made(S2PREST, colours=share, strokes=1.0) for share in (0.0, 0.5, 1.0))
    assert np.abs(part - photo).mean() < np.abs(style - photo).mean()
    nearly = made(S2PREST, colours=0.999, strokes=1.0)
    assert np.abs(nearly - style).mean() < 1


def test_each_region_has_the_strokes_of_its_own_style(stroked: HouseBackbone) -> None:
    one = Region(fitted(DIFFSTYLER), LEFT)
    whole = {"region_size": "picture", "refine": 0.0}
    own, painted = (made(DIFFSTYLER, one, strokes=share, **whole) for share in (0.0, 1.0))
    photo = np.asarray(CONTENT.image)
    assert np.array_equal(painted[:, 34:], photo[:, 34:])
    assert np.abs(painted[:, :30] - own[:, :30]).mean() > 1
    alone, both = (
        made(DIFFSTYLER, *regions, strokes=1.0, **whole)
        for regions in ([Region(fitted(DIFFSTYLER))], [Region(fitted(DIFFSTYLER, 7)), one])
    )
    assert np.abs(alone[:, :28] - both[:, :28]).mean() < np.abs(alone[:, 36:] - both[:, 36:]).mean()


@pytest.mark.parametrize("colours", ["", "content", 0.5])
def test_where_nothing_paints_nothing_changes(colours: float | str, stroked: HouseBackbone) -> None:
    style = fitted(DIFFSTYLER)
    pictures = {name for name in style.tensors if name.startswith("picture.")}
    without = dataclasses.replace(style, tensors={n: v for n, v in style.tensors.items() if n not in pictures})
    assert style_vector_of(without, RunContext(stroked)) is None
    regions = [Region(style, LEFT, span=Span(0.0, 0.5))]
    if colours != 0.5:  # of a style without a picture there are no colours to take a half of
        regions.append(Region(without))
    for region in regions:
        results = [
            dataclasses.replace(DIFFSTYLER, colours=colours, strokes=share).stylize(
                [CONTENT], [region], RunContext(stroked)
            )[0]
            for share in (0.0, 1.0)
        ]
        assert np.array_equal(*(np.asarray(result.picture) for result in results))
        assert "fast_networks" not in results[1].manifest


@pytest.mark.parametrize("size", [(16, 16), (300, 6)])
def test_a_small_style_picture_has_a_vector(size: tuple[int, int], stroked: HouseBackbone) -> None:
    style = dataclasses.replace(
        fitted(S2PREST), tensors={**fitted(S2PREST).tensors, "picture.00": picture_tensor(smooth_image(*size, 3))}
    )
    vector = style_vector_of(style, RunContext(stroked))
    assert vector is not None and bool(vector.isfinite().all())


def test_the_memory_of_strokes_is_asked_for_once(monkeypatch: pytest.MonkeyPatch, stroked: HouseBackbone) -> None:
    asked: list[int] = []
    monkeypatch.setattr(base, "check_memory", lambda size, per_pixel, backbone: asked.append(per_pixel))
    S2PREST.stylize([CONTENT, CONTENT], [Region(fitted(S2PREST))], RunContext(stroked))
    assert asked == [2 * S2PREST.bytes_per_pixel + 900]


def test_a_mixs_vector_is_the_sum_of_its_pictures(stroked: HouseBackbone) -> None:
    context = RunContext(stroked)
    styles = [fitted(S2PREST, seed) for seed in (1, 2)]
    mix = style_vector_of(mixed_style(list(zip(styles, (3, 1), strict=True))), context)
    one, other = (style_vector_of(style, context) for style in styles)
    assert mix is not None and one is not None and other is not None
    assert torch.allclose(mix, 0.75 * one + 0.25 * other, atol=1e-5) and not torch.allclose(one, other, atol=0.1)


@METHODS
def test_the_manifest_names_the_network_that_painted(method: Method, stroked: HouseBackbone) -> None:
    def manifest(strokes: float) -> Any:
        chosen = dataclasses.replace(method, strokes=strokes)
        return chosen.stylize([CONTENT], [Region(fitted(method))], RunContext(stroked))[0].manifest

    assert manifest(0.5)["fast_networks"] == {"fast_strokes": stroked.strokes_digest}
    assert "fast_networks" not in manifest(0.0)


@METHODS
def test_the_model_recommends_a_share_where_it_can_paint(
    method: LastStrokes, stroked: HouseBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stroked, "recommended_settings", {f"{method.name}.strokes": 0.3})
    assert method.resolved(stroked).strokes == 0.3
    assert dataclasses.replace(method, strokes=0.0).resolved(stroked).strokes == 0.0
    stroked.stroke_network = None
    assert method.resolved(stroked).strokes == 0.0
    with pytest.raises(SettingError, match="strokes are painted by a model's stroke network, and tiny has none"):
        made(method, strokes=0.3)


def test_other_models_and_published_programs_have_none() -> None:
    plain = LatentBackbone(
        tiny_house().pipeline,
        "plain",
        torch.device("cpu"),
        torch.float32,
        recommended_settings={"s2prest.strokes": 0.5},
    )
    assert S2PREST.resolved(plain).strokes == 0.0
    for name in ("s2prest-original", "inst-original"):
        with pytest.raises(SettingError, match=f"{name} is the published program, which has no strokes"):
            method_class(name)(strokes=0.5).check_shared(name)


def test_every_paper_preset_has_none() -> None:
    for name in ("s2prest", "inst"):
        assert method_class(name).presets["paper"]["strokes"] == 0.0


def test_houses_default_has_strokes() -> None:
    from velatura.models.loading.load import load_backbone

    house = load_backbone("house", "cpu", "auto")
    shares = {name: method_class(name)().resolved(house).strokes for name in ("s2prest", "inst", "diffstyler")}
    assert 0 < shares["s2prest"] == shares["inst"] < 1 and shares["diffstyler"] == 0


def _lab(array: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None] / 255
    lab: torch.Tensor = rgb_to_lab(pixels)[0]
    return lab
