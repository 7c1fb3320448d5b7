"""The stroke network tuned to one style: its fit, what a style keeps of it, mixes, regions, and refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from tests.command_line import run as run_command
from tests.conftest import smooth_image
from tests.test_resumable_fit import Interrupted
from tests.tiny_house import stroked_house, tiny_house, tiny_studio
from velatura.app import studio
from velatura.app.recorded import Recorded
from velatura.app.repeating import repeating_command
from velatura.errors import SettingError, StyleError
from velatura.methods.context import RunContext
from velatura.methods.fast import Fast
from velatura.methods.strokes import tuning
from velatura.methods.strokes.tuned import PREFIX, is_tuned, network_of
from velatura.methods.strokes.tuning import tuning_contents
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import Picture
from velatura.picture.sample_photos import SAMPLE_PHOTOS, sample_photos
from velatura.progress import Silent
from velatura.regions import Region
from velatura.regions.query import PolygonQuery
from velatura.style import Style

T = TypeVar("T")
PLAIN = Fast(size=64)
TUNED = dataclasses.replace(PLAIN, fit_steps=3)
CONTENT = Picture.of(smooth_image(64, 96, 0), "content")
STYLE = Picture.of(smooth_image(96, 64, 1), "style")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small photos, one of each of two crops."""
    photos = [Picture.of(smooth_image(72, 80, seed), f"photo{seed}") for seed in (3, 4)]
    monkeypatch.setattr(tuning, "sample_photos", lambda: photos)
    monkeypatch.setattr(tuning, "CROPS", 1)
    monkeypatch.setattr(tuning, "CHECK_STEPS", 1)
    monkeypatch.setattr(tiny_house(), "native_size", 64, raising=False)


@pytest.fixture
def stroked(monkeypatch: pytest.MonkeyPatch) -> HouseBackbone:
    """The tiny house model with a stroke network."""
    return stroked_house(monkeypatch)


class Told(Silent):
    """Progress that keeps what is tracked."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        self.labels.append(what)
        return super().track(items, what)


def fitted(method: Fast, picture: Picture = STYLE) -> Style:
    return method.fit(picture, picture.name, RunContext(tiny_house()))


def painted(method: Fast, *regions: Region) -> np.ndarray:
    made = method.stylize([CONTENT], regions, RunContext(tiny_house()))[0]
    return np.asarray(made.picture.convert("RGB")).astype(int)


def test_without_steps_a_fit_is_a_moments_work(stroked: HouseBackbone) -> None:
    style = fitted(PLAIN)
    assert style.tensors.keys() == {"vector", "picture.00"} and style.card["stopped"] == "nothing to fit"
    assert not is_tuned(style) and network_of(style, stroked.stroke_network) is stroked.stroke_network


def test_a_tuned_style_keeps_its_network_and_the_models_stays(stroked: HouseBackbone) -> None:
    before = {name: value.clone() for name, value in stroked.stroke_network.state_dict().items()}
    style = fitted(TUNED)
    own = network_of(style, stroked.stroke_network).state_dict()
    assert own.keys() == before.keys() and any(not torch.allclose(own[name], before[name]) for name in own)
    assert all(torch.equal(value, before[name]) for name, value in stroked.stroke_network.state_dict().items())
    assert style.card["settings"] == {"fit_steps": 3, "fit_seed": 0} and style.card["stopped"] == "all steps"
    assert [step for step, _ in style.card["loss"]] == [0, 1, 2, 3]
    assert fitted(TUNED).identity == style.identity
    assert fitted(dataclasses.replace(TUNED, fit_seed=1)).identity != style.identity


def test_steps_bring_the_losses_down(stroked: HouseBackbone) -> None:
    curve = [loss for _, loss in fitted(dataclasses.replace(TUNED, fit_steps=20)).card["loss"]]
    assert curve[-1] < 0.9 * curve[0]


def test_tuning_acts_in_the_strokes_alone_and_survives_a_file(stroked: HouseBackbone, tmp_path: Path) -> None:
    plain, tuned = fitted(PLAIN), fitted(TUNED)
    tuned.save(tmp_path / "tuned.safetensors")
    kept = Style.load(tmp_path / "tuned.safetensors")
    assert not np.array_equal(painted(PLAIN, Region(tuned)), painted(PLAIN, Region(plain)))
    assert np.array_equal(painted(PLAIN, Region(kept)), painted(PLAIN, Region(tuned)))
    bare = dataclasses.replace(PLAIN, strokes=0.0)
    assert np.array_equal(painted(bare, Region(tuned)), painted(bare, Region(plain)))


def test_a_region_has_its_own_network(stroked: HouseBackbone) -> None:
    left = PolygonQuery(((0, 0), (32, 0), (32, 64), (0, 64)))
    plain, tuned = fitted(PLAIN), fitted(TUNED)
    both = painted(PLAIN, Region(plain), Region(tuned, left))
    alone = painted(PLAIN, Region(plain), Region(plain, left))
    difference = np.abs(both - alone)
    assert difference[:, 44:].max() <= 1 < difference[:, :32].mean()


def test_a_mix_has_the_weighted_mean_of_the_networks(stroked: HouseBackbone) -> None:
    plain, tuned = fitted(PLAIN), fitted(TUNED)
    mixed = network_of(PLAIN.mix([(plain, 3.0), (tuned, 1.0)]), stroked.stroke_network).state_dict()
    own, theirs = stroked.stroke_network.state_dict(), network_of(tuned, stroked.stroke_network).state_dict()
    for name, value in mixed.items():
        assert torch.allclose(value, 0.75 * own[name] + 0.25 * theirs[name], atol=1e-6)


def test_a_network_of_other_layers_is_refused(stroked: HouseBackbone) -> None:
    style = fitted(TUNED)
    some = {name: value for name, value in style.tensors.items() if name != f"{PREFIX}skips.0.weight"}
    other = {**style.tensors, f"{PREFIX}skips.0.weight": torch.zeros(2, 2, 1, 1)}
    for tensors in (some, other):
        with pytest.raises(StyleError, match="other layers than the model's: fit it again"):
            painted(PLAIN, Region(dataclasses.replace(style, tensors=tensors)))


def test_a_model_without_a_stroke_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_house(), "stroke_network", None)
    with pytest.raises(SettingError, match="tiny has none: leave fit_steps out"):
        fitted(TUNED)


def test_an_interrupted_tuning_goes_on(
    stroked: HouseBackbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        TUNED.fit(STYLE, "style", RunContext(tiny_house(), progress=Interrupted(9)), checkpoint=path)
    assert path.exists() and "kept as it was after 2 steps: the same command goes on" in caplog.text
    told = Told()
    resumed = TUNED.fit(STYLE, "style", RunContext(tiny_house(), progress=told), checkpoint=path)
    assert told.labels[-1] == "fit, from step 2 on"
    whole = fitted(TUNED)
    assert resumed.card["loss"] == whole.card["loss"] and resumed.identity == whole.identity
    assert list(tmp_path.iterdir()) == []


def test_the_command_fits_and_refuses_in_a_sentence(
    stroked: HouseBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studio, "load_backbone", lambda *_: tiny_house())
    monkeypatch.setenv("VELATURA_HOME", str(tmp_path))
    STYLE.image.save(tmp_path / "style.png")
    asked = ("fit", str(tmp_path / "style.png"), "--method", "fast", "--name", "ink")
    assert run_command(monkeypatch, *asked, "--set", "fit_steps=-1") == 2
    assert "fit_steps" in capsys.readouterr().err
    assert run_command(monkeypatch, *asked, "--set", "fit_steps=2") == 0
    assert is_tuned(tiny_studio(tmp_path / "styles").library.load("ink"))


def test_contents_are_random_squares_of_the_sample_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "sample_photos", sample_photos)
    monkeypatch.setattr(tuning, "CROPS", 2)
    found = tuning_contents(48, 0)
    assert [picture.name for picture in found] == [name for name in SAMPLE_PHOTOS for _ in range(2)]
    assert {picture.size for picture in found} == {(48, 48)}
    assert len({picture.digest for picture in found}) == 8
    assert [picture.digest for picture in tuning_contents(48, 0)] == [picture.digest for picture in found]
    assert [picture.digest for picture in tuning_contents(48, 1)] != [picture.digest for picture in found]


def test_the_loss_is_told_before_and_after_on_the_same_pictures(stroked: HouseBackbone) -> None:
    curve = fitted(TUNED).card["loss"]
    assert curve[0][0] == 0 and fitted(dataclasses.replace(TUNED, fit_steps=1)).card["loss"][0] == curve[0]


def test_a_fitted_style_is_not_asked_for_another_fit(stroked: HouseBackbone) -> None:
    tuned, plain = fitted(TUNED), fitted(PLAIN)
    for style, own in ((tuned, 3), (plain, 0), (PLAIN.mix([(plain, 1.0), (tuned, 1.0)]), 0)):
        with pytest.raises(SettingError, match=f"fit_steps={own}, not 7: leave fit_steps out, or fit it again"):
            painted(dataclasses.replace(PLAIN, fit_steps=7), Region(style))
    assert np.array_equal(painted(TUNED, Region(tuned)), painted(PLAIN, Region(tuned)))
    mixed = PLAIN.mix([(plain, 1.0), (tuned, 1.0)])
    assert np.array_equal(painted(TUNED, Region(mixed)), painted(PLAIN, Region(mixed)))


def test_show_names_a_style_that_the_picture_alone_would_not_give(stroked: HouseBackbone, tmp_path: Path) -> None:
    picture = dataclasses.replace(STYLE, file="style.png")
    for method, name in ((PLAIN, "style.png"), (TUNED, "ink")):
        made = PLAIN.stylize(
            [CONTENT], [Region(method.fit(picture, "ink", RunContext(tiny_house())))], RunContext(tiny_house())
        )[0]
        made.save(tmp_path / f"{name}.png")
        command = repeating_command(Recorded.of(tmp_path / f"{name}.png"))
        assert f"--style {name} " in command
