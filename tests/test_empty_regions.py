"""Regions whose masks show nowhere: the photo, without computing, and a sentence that says so; and mixed-up styles."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.command_line import FAST, run
from tests.conftest import smooth_image
from velatura.errors import StyleError
from velatura.methods.base import RunResult, WorkingPicture
from velatura.methods.empty_regions import run_where_shown
from velatura.picture import Picture, read_manifest
from velatura.regions import Placement, Region
from velatura.regions.query import ImageQuery
from velatura.style import Style, check_styles


def working(levels: list[int], name: str) -> WorkingPicture:
    """A content with a region of each level of gray."""
    content = Picture.of(smooth_image(8, 12), name)
    styles = [Style(f"style {number}", "guided", "", "", {}) for number in range(len(levels))]
    masks = [ImageQuery(Image.new("L", content.size, level)) for level in levels]
    regions = [Region(style, mask) for style, mask in zip(styles, masks, strict=True)]
    return WorkingPicture(content, content.size, Placement.of(regions, content))


def test_only_contents_in_which_a_region_shows_are_run(caplog: pytest.LogCaptureFixture) -> None:
    contents = [working([0], "a"), working([255], "b"), working([0, 0], "c"), working([0, 9], "d")]
    runs: list[list[str]] = []

    def invert(shown: list[WorkingPicture]) -> list[RunResult]:
        runs.append([content.picture.name for content in shown])
        return [RunResult(-content.pixels()) for content in shown]

    with caplog.at_level(logging.WARNING, "velatura"):
        made = run_where_shown(contents, invert, RunResult)
    assert runs == [["b", "d"]]
    signs = [1, -1, 1, -1]
    assert all(
        torch.equal(result.pixels, sign * content.pixels())
        for result, sign, content in zip(made, signs, contents, strict=True)
    )
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 4 and ["the photo stays" in each for each in told] == [True, True, True, False]
    assert "'style 0'" in told[3] and "empty in d" in told[3]
    assert run_where_shown([], invert, RunResult) == [] and len(runs) == 1


@pytest.mark.parametrize("more", [(), ("--colours", "style"), ("--size", "full")])
def test_a_black_mask_is_said_and_leaves_the_photo(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: str, tmp_path: Path, more: tuple[str, ...]
) -> None:
    for name, picture in {
        "photo": smooth_image(64, 96, 1),
        "style": smooth_image(64, 64, 2),
        "mask": Image.new("L", (96, 64)),
    }.items():
        picture.save(tmp_path / f"{name}.png")
    region = f"{tmp_path / 'mask.png'}={tmp_path / 'style.png'}"
    call = ["stylize", tmp_path / "photo.png", "--region", region, "--model", model, "--out", tmp_path / "out.png"]
    report = ["--report", tmp_path / "out.html"]
    assert run(monkeypatch, *call, *report, *FAST, *more) == 0
    assert caplog.text.count("(mask.png) is empty in photo") == 1
    made = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(made, np.asarray(Image.open(tmp_path / "photo.png")))
    assert read_manifest(tmp_path / "out.png")["scores"]["unet_evaluations"] == 0
    assert (tmp_path / "out.html").stat().st_size > 0


def test_styles_of_several_methods_are_named_with_their_methods() -> None:
    one, other = (Style(name, method, "", "", {}) for name, method in (("dusk", "guided"), ("wave", "diffstyler")))
    check_styles([one, one], "guided", "", "house")
    with pytest.raises(StyleError, match="'dusk' for guided and 'wave' for diffstyler"):
        check_styles([one, other, one], "guided", "", "house")
    with pytest.raises(StyleError, match="use --method diffstyler"):
        check_styles([other, other], "guided", "", "house")
