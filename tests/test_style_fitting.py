"""What every method's fit offers: a scale of strokes, a style mask, several pictures; and the result's colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.app.studio import Studio, configured
from velatura.errors import SettingError, StyleError
from velatura.methods.base import Method, Stylization
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.fast import Fast
from velatura.methods.guided import Guided
from velatura.methods.s2prest import InST, S2PreST
from velatura.methods.style_fitting import fit_style
from velatura.methods.styleid import StyleID
from velatura.picture import Picture, image_to_pixels
from velatura.picture.palette import near_palette, palette_of, transport_palette
from velatura.regions import Region
from velatura.registry import REPRODUCTIONS, method_class
from velatura.style import Style
from velatura.style.masked import mirrored_outwards
from velatura.style.pictures import palette_of_style, pictures_of
from velatura.style.scale import scaled_style

CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
QUICK: list[Method] = [
    Guided(steps=3, size=64),
    S2PreST(steps=3, size=64, fit_steps=2, fit_views=2, fit_size=64),
    InST(steps=3, size=64, fit_steps=2, fit_views=2, fit_size=64),
    DiffStyler(steps=3, size=64, fit_steps=2, fit_size=64, rank=1),
    StyleID(steps=3, size=64),
    Fast(steps=3, size=64),
]
METHODS = pytest.mark.parametrize("method", QUICK, ids=lambda method: str(method.name))


def halves(left: str = "white", right: str = "black") -> Image.Image:
    image = Image.new("RGB", (128, 128), left)
    ImageDraw.Draw(image).rectangle((64, 0, 128, 128), fill=right)
    return image


def stripes(width: int, side: int = 256) -> Image.Image:
    columns = (np.arange(side) // width % 2 * 200 + 20).astype(np.uint8)
    return Image.fromarray(np.repeat(np.tile(columns, (side, 1))[:, :, None], 3, 2))


def crossings(image: Image.Image) -> int:
    row = np.asarray(image.convert("L"))[image.height // 2].astype(int)
    return int(((row[1:] > 120) != (row[:-1] > 120)).sum())


def fit(method: Method, *images: Image.Image, mask: Image.Image | None = None) -> Style:
    pictures = [Picture.of(image, f"style{number}") for number, image in enumerate(images)]
    return fit_style(
        method, pictures, "style", RunContext(tiny_house()), None if mask is None else Picture.of(mask, "mask")
    )


def run(method: Method, style: Style) -> Stylization:
    return method.stylize([CONTENT], [Region(style)], RunContext(tiny_house()))[0]


def array(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image.convert("RGB")).astype(int)


def chroma(image: Image.Image) -> torch.Tensor:
    return palette_of(image_to_pixels(image)).chroma.mean(0)


# Colours


@METHODS
def test_colours_go_from_the_photos_to_the_styles(method: Method) -> None:
    style = fit(method, Image.new("RGB", (64, 64), (220, 120, 30)))
    found = [chroma(run(replace(method, colours=share), style).picture) for share in (0.0, 0.5, 1.0)]
    photo, wanted = chroma(CONTENT.image), chroma(Image.new("RGB", (64, 64), (220, 120, 30)))
    assert (found[0] - photo).norm() < 4
    distances = [float((each - wanted).norm()) for each in found]
    assert distances[0] > distances[1] > distances[2]
    by_name = [run(replace(method, colours=name), style).picture for name in ("content", "0", 0)]
    assert all(np.array_equal(array(each), array(by_name[0])) for each in by_name[1:])


def test_without_colours_a_result_is_what_the_method_makes_and_a_default_is_the_methods_own() -> None:
    method = QUICK[0]
    style = fit(method, smooth_image(64, 64, 1))
    assert method.colour_share is None

    class Coloured(Guided):
        default_colours = 1.0

    assert Coloured(strength=1.0).colour_share == 1 and Coloured(strength=0.25).colour_share == 0.5
    assert Coloured(strength=0.0).colour_share is None
    assert Coloured(colours="content").colour_share == 0
    assert np.array_equal(array(run(method, style).picture), array(run(replace(method, colours="made"), style).picture))


def test_the_colours_of_a_style_of_two_tones_leave_the_photo_its_middle_tones() -> None:
    method, style = StyleID(steps=3, size=64), fit(QUICK[4], halves())
    made, coloured = (
        image_to_pixels(run(replace(method, colours=colours), style).picture) for colours in ("made", "style")
    )
    palette, photo = palette_of(image_to_pixels(halves())), palette_of(image_to_pixels(CONTENT.image))
    near = transport_palette(made, near_palette(palette, photo), 1.0)
    assert (coloured - near).abs().mean() < 0.01 < 0.05 < (near - transport_palette(made, palette, 1.0)).abs().mean()


@pytest.mark.parametrize("bad", ["red", "1.5", "-1", 2, "nan", True, [1]])
def test_other_colours_are_refused(bad: Any) -> None:
    with pytest.raises(SettingError, match="colours must be style, content, made or a number from 0 to 1"):
        Guided(colours=bad)


def test_guided_without_the_styles_colours_has_no_palette_of_it() -> None:
    resolved = Guided(colours="content").in_asked_colours()
    assert resolved.palette == 0 and resolved.weights["palette"] == 0 and resolved.weights["texture"] > 0
    assert Guided(colours=0.5).in_asked_colours().palette == 0.5
    assert Guided(colours="style").in_asked_colours() == Guided(colours="style")
    assert DiffStyler(colours="content").in_asked_colours().palette == 0
    assert resolved.in_asked_colours() == resolved
    style = fit(QUICK[0], smooth_image(64, 64, 1))
    assert run(replace(QUICK[0], colours="content"), style).manifest["settings"]["palette"] == 0


def test_words_have_no_colours_to_give() -> None:
    style = Style("a storm", "guided", "", "", {}, {"text": "a storm"})
    assert palette_of_style(style) is None
    with pytest.raises(SettingError, match="has no picture to take colours from: use --colours content"):
        run(Guided(steps=3, size=64, colours=0.5), style)


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_a_published_program_has_none_of_it(name: str) -> None:
    method = method_class(name)
    for settings in ({"colours": "style"}, {"style_scale": 2.0}):
        with pytest.raises(SettingError, match=f"{name} is the published program, which has no {next(iter(settings))}"):
            method(**settings).check_shared(name)


# Style scale


def test_a_scale_makes_strokes_wider_or_narrower_in_a_picture_of_the_same_size() -> None:
    image = stripes(16)
    assert crossings(image) == 15
    for scale, expected in ((0.5, 31), (2, 7), (4, 3), (1, 15)):
        scaled, _ = scaled_style(image, None, scale)
        assert scaled.size == image.size
        assert abs(crossings(scaled) - expected) <= 2


def test_a_scale_means_the_same_for_a_large_picture_as_for_a_small_one() -> None:
    small, large = stripes(8, 128), stripes(64, 1024)
    for scale in (0.5, 2):
        assert abs(crossings(scaled_style(small, None, scale)[0]) - crossings(scaled_style(large, None, scale)[0])) <= 1


def test_a_cut_style_keeps_the_palette_of_the_whole() -> None:
    image = halves((200, 40, 40), (40, 60, 200))
    whole, cut = (palette_of(image_to_pixels(each)) for each in (image, scaled_style(image, None, 2)[0]))
    assert (whole.luminance - cut.luminance).abs().mean() < 4


def test_a_scaled_mask_goes_with_its_picture() -> None:
    for scale in (0.5, 2):
        image, mask = scaled_style(halves(), halves().convert("L"), scale)
        assert mask is not None and mask.size == image.size
        assert np.asarray(image.convert("L"))[np.asarray(mask) > 200].min() > 150


@METHODS
def test_every_method_fits_at_a_scale_and_keeps_it(method: Method) -> None:
    scaled = replace(method, style_scale=2.0)
    style = fit(scaled, smooth_image(160, 160, 1))
    assert style.card["style_scale"] == 2 and style.card["size"] == [160, 160]
    assert style.card["sha256"] == Picture.of(smooth_image(160, 160, 1)).digest
    assert run(scaled, style).manifest["settings"]["style_scale"] == 2
    run(method, style)
    with pytest.raises(SettingError, match=r"was fitted at style scale 2, not 0\.5: name its picture"):
        run(replace(method, style_scale=0.5), style)


def test_scales_out_of_bounds_and_pictures_that_are_too_small_are_refused() -> None:
    for bad in (0.1, 5, -1, float("nan")):
        with pytest.raises(SettingError, match=r"style_scale must be 0 or from 0.25 to 4"):
            Guided(style_scale=bad)
    with pytest.raises(StyleError, match="too few for style scale 4: give one of 256 pixels or more"):
        fit(Guided(style_scale=4.0), smooth_image(128, 200, 1))


# Style masks


def test_the_inside_is_mirrored_over_the_rest() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(1, 20, 3).repeat(4, 0)
    inside = np.zeros((4, 20), bool)
    inside[:, :5] = True
    made = mirrored_outwards(pixels, inside)
    assert np.array_equal(made[:, :5], pixels[:, :5])
    assert set(map(tuple, made.reshape(-1, 3))) == set(map(tuple, pixels[:, :5].reshape(-1, 3)))
    assert np.array_equal(made[0, 5], pixels[0, 3])


@METHODS
def test_what_a_style_mask_leaves_out_does_not_count(method: Method) -> None:
    first, second = halves((200, 60, 40), (10, 10, 10)), halves((200, 60, 40), (240, 250, 255))
    styles = [fit(method, image, mask=halves()) for image in (first, second)]
    pictures = [np.asarray(pictures_of(style)[0][0]).astype(int) for style in styles]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
    expected = palette_of(image_to_pixels(Image.new("RGB", (64, 64), (200, 60, 40))))
    for style in styles:
        palette = palette_of_style(style)
        assert palette is not None and (palette.luminance - expected.luminance).abs().max() < 2
    with pytest.raises(StyleError, match="black everywhere"):
        fit(method, first, mask=Image.new("L", (128, 128)))


# Several pictures


@METHODS
def test_one_style_of_several_pictures(method: Method, tmp_path: Path) -> None:
    images = [smooth_image(96, 96, 1), smooth_image(80, 96, 2)]
    if isinstance(method, StyleID):
        with pytest.raises(SettingError, match="learns a style from one picture"):
            fit(method, *images)
        return
    style = fit(method, *images)
    style.save(tmp_path / "style.safetensors")
    kept = Style.load(tmp_path / "style.safetensors")
    assert kept.name == "style"
    ours = array(run(method, kept).picture)
    if method.mixes:
        theirs = array(run(method, fit(method, *images[::-1])).picture)
        assert np.abs(ours - theirs).max() <= 3
    assert not np.array_equal(ours, array(run(method, fit(method, images[0])).picture))


def test_a_mask_is_for_one_picture() -> None:
    with pytest.raises(SettingError, match="A style mask is for one style picture"):
        fit(QUICK[0], smooth_image(64, 64, 1), smooth_image(64, 64, 2), mask=halves())


def test_a_studio_fits_a_list_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: Callable[[], Any] = tiny_house
) -> None:
    studio = Studio(library_folder=tmp_path)
    monkeypatch.setattr(studio, "_backbone", house())
    style = studio.fit([smooth_image(64, 64, 1), smooth_image(64, 64, 2)], "both", size=64)
    assert style.name == "both" and len(style.card["parts"]) == 2
    with pytest.raises(SettingError, match="no style picture"):
        studio.fit([], "none")
    assert configured("guided", {"colours": "content"}).colour_share == 0
