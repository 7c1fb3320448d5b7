"""Style pictures of a figure on a plain ground: what is found of them, and where the ground does not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.command_line import run
from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.app.studio import Studio
from velatura.errors import SettingError, StyleError
from velatura.methods.context import RunContext
from velatura.methods.fast import Fast
from velatura.methods.guided import Guided
from velatura.methods.shared_settings import FIGURE, WHOLE
from velatura.methods.style_fitting import fit_style
from velatura.picture import Picture
from velatura.regions import Region
from velatura.registry import REPRODUCTIONS, method_class
from velatura.style.ground import figure_mask
from velatura.style.pictures import pictures_of

BOX = (60, 40, 140, 160)


def figure_on(ground: str = "white", size: tuple[int, int] = (200, 200)) -> Image.Image:
    """A shaded figure in BOX on a plain ground."""
    image, shading = Image.new("RGB", size, ground), smooth_image(120, 80, 3)
    image.paste(shading, BOX[:2])
    return image


def found(image: Image.Image) -> Image.Image | None:
    mask = figure_mask(Picture.of(image, "style"))
    return None if mask is None else mask.image


@pytest.mark.parametrize("ground", ["white", "black", "#3050a0"])
def test_a_figure_is_what_a_plain_ground_leaves(ground: str) -> None:
    mask = found(figure_on(ground))
    assert mask is not None
    expected = Image.new("L", (200, 200))
    ImageDraw.Draw(expected).rectangle((BOX[0], BOX[1], BOX[2] - 1, BOX[3] - 1), fill=255)
    assert (np.asarray(mask.convert("L")) == np.asarray(expected)).mean() > 0.98


def cut_out(image: Image.Image, opacity: int = 255, box: tuple[int, int, int, int] = (20, 20, 60, 50)) -> Image.Image:
    """The image, transparent outside of a box."""
    alpha = Image.new("L", image.size)
    alpha.paste(opacity, box)
    made = image.convert("RGB")
    made.putalpha(alpha)
    return made


def test_what_is_transparent_is_ground_whatever_it_hides() -> None:
    mask = found(cut_out(smooth_image(96, 64, 2)))
    assert mask is not None
    inside = np.asarray(mask.convert("L")) > 127
    assert inside[22:48, 22:58].all() and not inside[:18].any() and not inside[:, 62:].any()


def test_paper_is_found_inside_of_what_can_be_seen() -> None:
    rounded = figure_on()
    alpha = Image.new("L", rounded.size)
    ImageDraw.Draw(alpha).rounded_rectangle((0, 0, 199, 199), 30, fill=255)
    rounded.putalpha(alpha)
    mask, whole = found(rounded), found(figure_on())
    assert mask is not None and whole is not None
    assert (np.asarray(mask) == np.asarray(whole)).mean() > 0.99


@pytest.mark.parametrize(("opacity", "share"), [(100, 96), (255, 4), (0, 96)])
def test_what_can_hardly_be_seen_is_no_figure(opacity: int, share: int) -> None:
    assert found(cut_out(smooth_image(96, 96, 2), opacity, (0, 0, share, share))) is None


@pytest.mark.parametrize("side", [48, 64, 1200])
def test_a_figure_is_found_at_every_size(side: int) -> None:
    assert found(figure_on().resize((side, side), Image.Resampling.LANCZOS)) is not None


def lines() -> Image.Image:
    image = Image.new("RGB", (200, 200), "white")
    for place in range(20, 190, 12):
        ImageDraw.Draw(image).line((place, 20, 200 - place, 180), fill=(place, place, place), width=3)
    return image


def flat(*colours: str) -> Image.Image:
    image = Image.new("RGB", (200, 200), "white")
    for number, colour in enumerate(colours):
        ImageDraw.Draw(image).rectangle((30 + 50 * number, 50, 75 + 50 * number, 150), fill=colour)
    return image


@pytest.mark.parametrize(
    "image",
    [
        smooth_image(200, 200, 1),
        Image.new("RGB", (200, 200), "white"),
        lines(),
        flat("black"),
        flat("black", "#eeee00"),
        figure_on().crop((60, 0, 200, 200)),
    ],
    ids=["a whole picture", "nothing", "lines", "a silhouette", "two tones", "a figure at the edge"],
)
def test_pictures_that_need_all_of_themselves_are_whole(image: Image.Image) -> None:
    assert found(image) is None


def test_the_ground_counts_in_whole_pictures_and_not_in_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    studio, content = Studio("house"), smooth_image(64, 64, 0)
    monkeypatch.setattr(studio, "_backbone", tiny_house())
    settings: dict[str, Any] = {"method": "fast", "steps": 2, "size": 64}
    where = Image.new("L", (64, 64))
    where.paste(255, (8, 8, 56, 56))
    region, whole, left_out = (
        studio.stylize_regions(content, [(where, figure_on())], style_ground=ground, **settings)
        for ground in ("", WHOLE, FIGURE)
    )
    light = [np.asarray(each.picture)[16:48, 16:48].mean() for each in (region, whole, left_out)]
    assert light[0] == light[2] < light[1] - 10  # of two palettes, only one has the white ground
    (told,) = region.manifest["regions"]
    assert told["source"]["style_ground"] == FIGURE
    assert studio.stylize(content, figure_on(), **settings).manifest["regions"][0]["source"]["style_ground"] == WHOLE
    assert (
        "style_ground"
        not in studio.stylize(content, smooth_image(64, 64, 1), **settings).manifest["regions"][0]["source"]
    )


def test_a_style_without_its_ground_is_what_a_mask_of_the_figure_gives() -> None:
    picture, context = Picture.of(figure_on(), "style"), RunContext(tiny_house())
    figure = fit_style(Fast(style_ground=FIGURE), [picture], "style", context)
    masked = fit_style(Fast(), [picture], "style", context, figure_mask(picture))
    whole = fit_style(Fast(), [picture], "style", context)
    shown = [pictures_of(style)[0][0] for style in (figure, masked, whole)]
    assert np.array_equal(np.asarray(shown[0]), np.asarray(shown[1]))
    assert np.asarray(shown[0]).mean() < np.asarray(shown[2]).mean() - 20
    for asked, fitted in ((WHOLE, figure), (FIGURE, whole)):
        with pytest.raises(SettingError, match=f"not {asked}: name its picture instead, or fit it again"):
            Fast(style_ground=asked).check_shared("fast", [Region(fitted)])
        Fast().check_shared("fast", [Region(fitted)])
        Fast(style_ground=asked).check_shared("fast", [Region(masked)])
    with pytest.raises(SettingError, match="for one style picture"):
        fit_style(Fast(style_ground=FIGURE), [picture, picture], "two", context)


def test_transparency_shows_as_white_paper_and_never_what_it_hides() -> None:
    context, shown = RunContext(tiny_house()), []
    for hidden in (
        smooth_image(200, 200, 1),
        Image.new("RGB", (200, 200), "red"),
        Image.new("RGB", (200, 200), "white"),
    ):
        hidden.paste(figure_on().crop(BOX), BOX[:2])
        picture = Picture.of(cut_out(hidden, 255, BOX), "cut")
        shown += [fit_style(Fast(style_ground=ground), [picture], "s", context) for ground in ("", FIGURE)]
    whole, figure = ([np.asarray(pictures_of(style)[0][0]) for style in kind] for kind in (shown[::2], shown[1::2]))
    assert all(np.array_equal(each, np.asarray(figure_on())) for each in whole)
    assert all(np.array_equal(each, figure[0]) for each in figure) and figure[0].mean() < whole[0].mean() - 20
    empty = Picture.of(cut_out(figure_on(), 0), "empty")
    with pytest.raises(StyleError, match="The style picture empty is transparent everywhere"):
        fit_style(Fast(), [empty], "s", context)


def test_published_programs_have_no_such_setting() -> None:
    for name in REPRODUCTIONS:
        published = method_class(name)()
        assert published.for_region() is published
    assert Guided(style_ground=WHOLE).for_region().style_ground == WHOLE


def test_fit_tells_of_a_ground_that_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("VELATURA_HOME", str(tmp_path))
    figure_on().save(tmp_path / "figure.png")
    smooth_image(200, 200, 1).save(tmp_path / "picture.png")
    for file, setting, tells in (("figure", "", True), ("figure", "whole", False), ("picture", "", False)):
        asked = ["--set", f"style_ground={setting}"] if setting else []
        assert run(monkeypatch, "fit", tmp_path / f"{file}.png", "--name", f"{file}{setting}", *asked) == 0
        assert ("--set style_ground=figure leaves it out" in capsys.readouterr().err) == tells
    assert run(monkeypatch, "fit", tmp_path / "figure.png", "--set", "style_ground=paper", "--name", "odd") == 2
    assert "style_ground" in capsys.readouterr().err
