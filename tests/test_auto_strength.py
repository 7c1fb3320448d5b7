"""--strength auto: the knee of three results that share an inversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import smooth_image
from tests.tiny_house import tiny_studio
from velatura import Studio
from velatura.app.options import parse_strength_option
from velatura.app.sweep import Sweep, Where
from velatura.errors import SettingError
from velatura.evaluation.strength import Tried, knee, tried_strengths
from velatura.models.noise_schedule import steps_of_strength

QUICK: Mapping[str, Any] = {"steps": 10, "size": 64}
CONTENT, STYLE = smooth_image(64, 64, 0), smooth_image(64, 64, 2)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return tiny_studio(tmp_path / "styles")


@pytest.mark.parametrize("own", [0.05, 0.4, 0.6, 0.9, 1.0])
def test_three_strengths_fall_and_stay_in_range(own: float) -> None:
    found = tried_strengths(own)
    assert len(found) == 3 and 1 >= found[0] > found[1] > found[2] > 0


def test_the_knee_is_where_most_is_gained_and_the_weakest_of_equals() -> None:
    line = [Tried(0.9, 0.25, 0.75), Tried(0.5, 0.5, 0.5), Tried(0.2, 0.75, 0.25)]
    assert knee(line) == 2
    assert knee([line[0], replace(line[1], style=0.75), line[2]]) == 1


def test_auto_keeps_one_of_the_results_and_names_its_strength(studio: Studio) -> None:
    made = studio.stylize(CONTENT, STYLE, method="guided", strength="auto", **QUICK)
    noted = made.manifest["auto_strength"]
    strengths = [each["strength"] for each in noted["tried"]]
    chosen = made.manifest["settings"]["strength"]
    assert strengths == list(tried_strengths(0.6)) and chosen in strengths
    best = max(noted["tried"], key=lambda each: each["content"] + each["style"])
    assert best["strength"] == chosen
    again = studio.stylize(CONTENT, STYLE, method="guided", strength=chosen, **QUICK)
    assert np.array_equal(np.asarray(made.picture), np.asarray(again.picture))


def test_the_three_share_one_inversion(studio: Studio) -> None:
    same_start = {**QUICK, "palette": 0.0, "contrast": 0.0}  # below a strength of 0.5 there would be less of these
    made = studio.stylize(CONTENT, STYLE, method="guided", strength="auto", **same_start)
    alone = 0.0
    for strength in tried_strengths(0.6):
        fresh = tiny_studio(studio.library.folder)
        alone += fresh.stylize(CONTENT, STYLE, method="guided", strength=strength, **same_start).scores[
            "unet_evaluations"
        ]
    shorter = steps_of_strength(10, 0.6) + steps_of_strength(10, 0.36)
    assert made.manifest["auto_strength"]["unet_evaluations"] == alone - shorter


def test_several_contents_are_chosen_for_each(studio: Studio) -> None:
    contents = [CONTENT, smooth_image(64, 64, 5)]
    made = studio.stylize(contents, STYLE, method="guided", strength="auto", **{**QUICK, "steps": 2})
    assert [each.manifest["auto_strength"]["tried"][0]["strength"] for each in made] == [0.84, 0.84]


def test_what_has_no_strength_or_no_picture_is_told(studio: Studio) -> None:
    with pytest.raises(SettingError, match="has no strength"):
        studio.stylize(CONTENT, STYLE, method="diffstyler-original", strength="auto")
    fitted = studio.fit(STYLE, "s", "guided", **QUICK)
    bare = replace(
        fitted, tensors={name: each for name, each in fitted.tensors.items() if not name.startswith("picture.")}
    )
    with pytest.raises(SettingError, match="no picture"):
        studio.stylize(CONTENT, bare, method="guided", strength="auto", **QUICK)


def test_the_option_stands_alone_and_not_with_regions_or_layouts_by_strength() -> None:
    assert parse_strength_option("auto") == ["auto"] and parse_strength_option("0.2,0.4") == [0.2, 0.4]
    with pytest.raises(SettingError, match="--strength"):
        parse_strength_option("auto,0.4")
    with pytest.raises(SettingError, match="regions"):
        Sweep([], [], [("box:0,0,1,1", "s")], "guided", {}, ["auto"])
    with pytest.raises(SettingError, match="layout"):
        Sweep([], [{"s": 1.0}], [], "s2prest", {}, ["auto"]).jobs(Where(None, "paper"))
