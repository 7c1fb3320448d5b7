"""velatura reproduce: pictures made again from their manifests, bit for bit, and what is said where they cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.command_line import FAST, run
from tests.conftest import smooth_image
from tests.tiny_house import tiny_studio
from velatura.app.input_search import InputSearch
from velatura.app.recorded import Recorded
from velatura.app.repeating import changed_settings, repeating_command
from velatura.app.reproducing import Reproduction, differences, pixel_difference, restored, threads
from velatura.errors import PictureError, SettingError, StyleError
from velatura.methods.base import Stylization
from velatura.methods.strokes.last import LastStrokes
from velatura.picture import read_manifest
from velatura.span import Span

QUICK: Mapping[str, Any] = {"steps": 4, "strength": 0.5, "size": 64}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with two photos, two style pictures and a mask in a folder of its own."""
    smooth_image(72, 96, 0).save(tmp_path / "a.png")
    smooth_image(72, 96, 3).save(tmp_path / "b.png")
    smooth_image(64, 64, 2).save(tmp_path / "style.png")
    smooth_image(64, 72, 4).save(tmp_path / "other.png")
    (tmp_path / "masks").mkdir()
    half = np.zeros((72, 96), np.uint8)
    half[:, :60] = 255
    Image.fromarray(half).save(tmp_path / "masks" / "half.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def again(path: Path, **given: Any) -> tuple[Stylization, Reproduction]:
    """A picture made again by a new Studio, with the folder's files to be found."""
    reproduction = Reproduction(Recorded.of(path), tiny_studio(), InputSearch([path.parent, Path()]), **given)
    return reproduction.make(), reproduction


def assert_same(result: Stylization, path: Path) -> None:
    assert pixel_difference(result, path) == (0, 0)
    made, kept = dict(result.manifest), read_manifest(path)
    for manifest in (made, kept):
        manifest["scores"] = {name: value for name, value in manifest["scores"].items() if name != "unet_evaluations"}
        for spent in ("seconds", "request", "unet_evaluations"):
            manifest.pop(spent, None)
    assert json.loads(json.dumps(made)) == kept


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("guided", {"weights": {"gram": 2.0, "mse": 0.1}, "spans": {"gram": Span(0, 0.5)}, "start": "noise"}),
        ("styleid", {}),
        ("s2prest", {"inversion": "ddim"}),
        ("diffstyler", {}),
    ],
)
def test_every_method_makes_the_same_bits_again(place: Path, method: str, settings: Mapping[str, Any]) -> None:
    fit = {"s2prest": {"fit_steps": 2, "fit_views": 2}, "diffstyler": {"fit_steps": 2}}.get(method, {})
    made = tiny_studio().stylize("a.png", "style.png", 7, method, **QUICK, **settings, **fit)
    path = made.save(place / "out.png")
    result, reproduction = again(path)
    assert_same(result, path)
    assert reproduction.notes == []


@pytest.mark.parametrize("method", ["s2prest", "inst", "diffstyler"])
def test_manifests_from_before_there_were_strokes_have_none(place: Path, method: str) -> None:
    studio = tiny_studio()
    saved = studio.stylize("a.png", style="style.png", method=method, fit_steps=2, **QUICK).save("old.png")
    recorded = Recorded.of(saved)
    settings = {name: value for name, value in recorded.manifest["settings"].items() if name != "strokes"}
    old = replace(recorded, manifest={**recorded.manifest, "settings": settings})
    asked = Reproduction(old, studio, InputSearch([Path()])).method()
    assert isinstance(asked, LastStrokes) and asked.strokes == 0


def test_contents_that_shared_a_pass_are_made_again_one_by_one(place: Path) -> None:
    results = tiny_studio().stylize(["a.png", "b.png"], "style.png", 1, "s2prest", **QUICK, fit_steps=2, fit_views=2)
    for number, made in enumerate(results):
        assert made.manifest["batch"] == [number, 2]
        path = made.save(place / f"out{number}.png")
        assert_same(again(path)[0], path)


def test_regions_with_masks_weights_and_spans_come_back(place: Path) -> None:
    regions = [
        ("masks/half.png", "style.png*0.5"),
        ("box:60,10,90,60", "other.png@0-0.6"),
        ("not:masks/half.png", "other.png"),
    ]
    made = tiny_studio().stylize_regions("a.png", regions, 3, "guided", **QUICK)
    path = made.save(place / "out.png")
    result, reproduction = again(path)
    assert_same(result, path)
    assert reproduction.notes == []
    (place / "masks" / "half.png").rename(place / "moved.png")  # found by its hash
    assert pixel_difference(again(path)[0], path) == (0, 0)
    (place / "moved.png").unlink()
    with pytest.raises(PictureError, match=r"mask masks/half\.png of region 1 is not here"):
        again(path)


def test_a_mask_in_memory_is_refused_in_one_sentence(place: Path) -> None:
    regions = [(Image.open("masks/half.png"), "style.png")]
    path = tiny_studio().stylize_regions("a.png", regions, 3, "guided", **QUICK).save(place / "out.png")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="Region 1 had a mask in memory, which the manifest cannot hold"):
        again(path)


def test_mixes_come_back_with_their_weights(place: Path) -> None:
    made = tiny_studio().stylize("a.png", {"style.png": 0.1, "other.png": 0.2}, 0, "guided", **QUICK)
    path = made.save(place / "out.png")
    assert_same(again(path)[0], path)


def test_styles_of_the_library_are_found_by_what_they_are(place: Path) -> None:
    first = tiny_studio()
    first.library.add(first.fit("style.png", "dusk", "s2prest", fit_steps=2, fit_views=2))
    path = first.stylize("a.png", "dusk", 0, "s2prest", **QUICK).save(place / "out.png")
    first.library.path("dusk").rename(first.library.path("dawn"))
    (place / "style.png").unlink()
    assert again(path)[1].notes == []
    first.library.remove("dawn")
    with pytest.raises(StyleError, match="The style 'dusk' was fitted to a picture that is not here"):
        again(path)


def test_styles_of_several_pictures_and_of_masked_and_scaled_ones_are_fitted_again(place: Path) -> None:
    first = tiny_studio()
    (place / "white.png").write_bytes((place / "masks" / "half.png").read_bytes())
    fitted = [
        first.fit(["style.png", "other.png"], "both"),
        first.fit("style.png", "left", "guided", "white.png"),
        first.fit("style.png", "wide", "guided", "white.png", style_scale=0.5),
    ]
    for style in fitted:
        path = first.stylize("a.png", style, 0, "guided", **QUICK).save(place / "out.png", force=True)
        result, reproduction = again(path)
        assert_same(result, path)
        assert reproduction.notes == []
    (place / "white.png").unlink()
    (place / "masks" / "half.png").unlink()
    with pytest.raises(StyleError, match="The style 'wide' was fitted to a picture or a mask that is not here"):
        again(path)


def test_inputs_are_found_in_folders_and_others_are_named(place: Path) -> None:
    path = tiny_studio().stylize("a.png", "style.png", 0, "guided", **QUICK).save(place / "out" / "out.png")
    elsewhere = place / "deep" / "er"
    elsewhere.mkdir(parents=True)
    for name in ("a.png", "style.png"):
        (place / name).rename(elsewhere / f"x{name}")
    with pytest.raises(PictureError, match=r"The content 'a' .* is not here: name it with --content"):
        again(path)
    recorded = Recorded.of(path)
    found = Reproduction(recorded, tiny_studio(), InputSearch([], [place / "deep"])).make()
    assert pixel_difference(found, path) == (0, 0)
    result, reproduction = again(path, content=place / "b.png", styles=["other.png"])
    assert pixel_difference(result, path) != (0, 0)
    assert reproduction.notes[0].endswith("b.png is not the content that was used: its hash differs.")
    assert "The style 'style' is not the one that was used: what was fitted differs." in reproduction.notes


def test_a_picture_in_memory_is_known_by_its_pixels(place: Path) -> None:
    path = tiny_studio().stylize(Image.open("a.png"), "style.png", 0, "guided", **QUICK).save(place / "out.png")
    result, reproduction = again(path, content=place / "a.png")
    assert pixel_difference(result, path) == (0, 0) and reproduction.notes == []


def test_what_is_not_as_it_was_is_said() -> None:
    then = {
        "model_fingerprint": "a",
        "versions": {"torch": "1"},
        "computed_on": {"device": "cuda", "threads": 4},
        "regions": [{"mask_sha256": "x"}],
    }
    now = {
        "model_fingerprint": "b",
        "versions": {"torch": "2", "new": "1"},
        "computed_on": {"device": "cpu", "threads": 4},
        "regions": [{"mask_sha256": "y"}],
    }
    assert differences(then, then) == []
    assert differences(then, now) == [
        "The model's fingerprint was a and is b.",
        "torch was 1 and is 2.",
        "device was cuda and is cpu.",
        "The mask of region 1 is not the one that was used.",
    ]


def test_networks_of_the_fast_method_that_were_trained_again_are_told_of() -> None:
    entry = {"fast_networks": {"fast_adapter": "a", "fast_strokes": "b"}}
    then, now = {"regions": [], **entry}, {"regions": [], "fast_networks": {"fast_adapter": "a", "fast_strokes": "c"}}
    assert differences(then, then) == differences({"regions": []}, now) == []
    assert differences(then, now) == ["The fast_strokes is not the one that was used."]


def test_settings_come_back_from_json() -> None:
    kept = json.loads('{"spans": {"tv": {"start": 0.5, "end": 1.0}}, "weights": {"tv": 0.1}, "steps": 3}')
    assert restored("guided", kept) == {"spans": {"tv": Span(0.5, 1.0)}, "weights": {"tv": 0.1}, "steps": 3}


def test_threads_are_those_of_then_where_the_machine_has_as_many() -> None:
    before = torch.get_num_threads()
    with threads({"threads": 1}):
        assert torch.get_num_threads() == 1
    with threads({"threads": (os.cpu_count() or 1) + 1}):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_the_command_line_of_a_result_asks_for_it_again(place: Path) -> None:
    settings = {**QUICK, "weights": {"gram": 2.0}, "spans": {"gram": Span(0, 0.5)}}
    path = tiny_studio().stylize("a.png", "style.png", 7, "guided", **settings).save(place / "out.png")
    command = repeating_command(Recorded.of(path))
    assert command.startswith("velatura stylize a.png --style style.png --method guided --model tiny ")
    assert "--loss gram=2@0-0.5" in command and "--set steps=4" in command and "--seed 7" in command
    assert "--device cpu --dtype fp32" in command and "prompt" not in command
    assert {"steps", "strength", "size", "weights"} <= set(changed_settings(Recorded.of(path)))


def test_the_command_line_of_regions_and_mixes(place: Path) -> None:
    regions = [("masks/half.png", "style.png*0.5@0-0.5"), ("box:60,10,90,60", "other.png")]
    path = tiny_studio().stylize_regions("a.png", regions, 3, "guided", **QUICK).save(place / "out.png")
    command = repeating_command(Recorded.of(path))
    assert "--region 'masks/half.png=style.png*0.5@0-0.5' --region box:60,10,90,60=other.png" in command
    styles: Mapping[str, float] = {"style.png": 1, "other.png": 3}
    mixed = tiny_studio().stylize("a.png", styles, 0, "guided", **QUICK).save(place / "mix.png")
    assert "--style style.png=0.25 --style other.png=0.75" in repeating_command(Recorded.of(mixed))


def test_the_command_says_whether_the_picture_is_the_same(
    monkeypatch: pytest.MonkeyPatch, place: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [*FAST, "--model", model]
    assert run(monkeypatch, "stylize", "a.png", "--style", "style.png", "--out", "r.jpg", *quick) == 0
    assert run(monkeypatch, "reproduce", "r.jpg", "--report", "r.html") == 0
    said = capsys.readouterr()
    assert "The picture is the same, bit for bit." in said.err and "r-again.jpg" in said.out
    assert "data:image/webp" in (place / "r.html").read_text()
    assert run(monkeypatch, "reproduce", "r.jpg", "--content", "b.png", "--out", "c.png") == 1
    said = capsys.readouterr()
    assert "The picture differs, by" in said.err and "b.png is not the content" in said.err
    Image.open("a.png").save("plain.png")
    assert run(monkeypatch, "reproduce", "plain.png") == 2
    assert "holds no manifest" in capsys.readouterr().err
    assert run(monkeypatch, "reproduce", "r.jpg", "--out", "a.png", "--force") == 2
    assert "would be lost" in capsys.readouterr().err
