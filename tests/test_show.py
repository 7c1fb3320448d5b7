"""velatura show, and the report: what a picture's manifest says, in a terminal and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.command_line import FAST, run
from tests.conftest import smooth_image
from tests.tiny_house import tiny_studio
from velatura.app.explaining import facts, region_rows
from velatura.app.input_search import InputSearch
from velatura.app.recorded import Recorded
from velatura.app.repeating import repeating_command
from velatura.app.report.curves import HEIGHT, WIDTH, Curve
from velatura.app.report.entries import write_report
from velatura.app.report.gathering import Gathering
from velatura.errors import PictureError
from velatura.picture import save_picture

QUICK: Mapping[str, Any] = {"steps": 4, "strength": 0.5, "size": 64}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photo and a style picture."""
    smooth_image(72, 96, 0).save(tmp_path / "a.png")
    smooth_image(64, 64, 2).save(tmp_path / "style.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and what it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str, name: str = "") -> int:
        return sum(found == tag and (not name or attrs.get("class") == name) for found, attrs in self.tags)

    @property
    def loaded(self) -> list[str]:
        sources = [attrs.get("src") or attrs.get("href") or "" for _, attrs in self.tags]
        return [source for source in sources if source and not source.startswith("data:")]


def test_a_manifest_is_shown_in_words_and_as_it_is(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK, weights={"gram": 2.0})
    made.save("out.png")
    monkeypatch.setenv("COLUMNS", "120")
    assert run(monkeypatch, "show", "out.png") == 0
    shown = capsys.readouterr().out
    for text in (
        "guided",
        "a.png (",
        "style — style.png (",
        "tiny (",
        "gram 2",
        "unet_evaluations",
        "velatura reproduce",
    ):
        assert text in shown
    assert run(monkeypatch, "show", "out.png", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(made.manifest))


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK)
    save_picture(made.picture, "out.png", {**made.manifest, "model": "x\x1b[31m[bold]y"})
    assert run(monkeypatch, "show", "out.png") == 0
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown and "x?[31m[bold]y" in shown


def test_a_manifest_beside_the_picture_serves_too_and_damage_is_one_sentence(place: Path) -> None:
    made = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK)
    made.save("out.png", sidecar=True)
    Image.open("out.png").convert("RGB").save("out.png")  # an editor that drops metadata
    assert Recorded.of(Path("out.png")).manifest["seed"] == 7
    for damage in ({"seed": "x"}, {"regions": []}, {"regions": [1]}, {"settings": None}):
        save_picture(made.picture, "damaged.png", {**made.manifest, **damage})
        with pytest.raises(PictureError, match=r"The manifest of damaged\.png is damaged"):
            Recorded.of(Path("damaged.png"))
    with pytest.raises(PictureError, match="holds no manifest"):
        Recorded.of(place / "a.png")


def test_a_manifest_of_an_earlier_version_is_shown(place: Path) -> None:
    made = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK)
    manifest = {name: value for name, value in made.manifest.items() if name not in ("computed_on", "scores", "batch")}
    manifest["regions"] = [{k: v for k, v in each.items() if k != "source"} for each in manifest["regions"]]
    save_picture(made.picture, "out.png", manifest)
    recorded = Recorded.of(Path("out.png"))
    assert ("method", "guided") in facts(recorded) and region_rows(recorded) == []
    assert recorded.regions[0].source["sha256"] == made.manifest["style"]["sha256"]


def test_a_curve_spans_its_drawing() -> None:
    curve = Curve.of("mse", range(3), [2.0, float("nan"), 1.0])
    assert curve is not None
    assert curve.points == f"0.0,0.0 {WIDTH:.1f},{HEIGHT / 2:.1f}"
    assert (curve.first, curve.last, curve.largest) == ("2", "1", "2")
    assert Curve.of("mse", [0], [1.0]) is None


def test_a_report_holds_all_that_it_shows(place: Path) -> None:
    half = np.zeros((72, 96), np.uint8)
    half[:, :60] = 255
    Image.fromarray(half).save("half.png")
    made = tiny_studio().stylize_regions("a.png", [("half.png", "style.png*0.5")], 3, "guided", **QUICK)
    path = made.save("out.png")
    found = InputSearch([Path()])
    entry = Gathering(tiny_studio().library, found).entry(Recorded.of(path), made, None)
    write_report(Path("r.html"), [entry])
    page = Page(Path("r.html").read_text())
    assert page.loaded == [] and page.count("img", "alone") == 1 and "was not found by its hash" in page.text
    assert "mask of region 1" in page.text and page.count("polyline") == len(made.manifest["loss_curves"])
    entry = Gathering(tiny_studio().library, found).entry_of_file(Recorded.of(path))
    write_report(Path("r.html"), [entry])
    page = Page(Path("r.html").read_text())
    assert page.count("img", "before") == page.count("img", "after") == 1
    assert "edge_f1" in page.text and "half.png=style.png*0.5" in page.text and "gram_distance" not in page.text


def test_names_in_a_report_are_escaped(place: Path) -> None:
    hostile = "<script>alert(1)</script>'\"&"
    made = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK)
    manifest = json.loads(json.dumps(made.manifest).replace('"style.png"', json.dumps(hostile)))
    manifest |= {"model": hostile, "loss_curves": {hostile: [1.0, 2.0]}, "scores": {hostile: 1.0}}
    save_picture(made.picture, "out.png", manifest)
    entry = Gathering(tiny_studio().library, InputSearch([])).entry_of_file(Recorded.of(Path("out.png")))
    write_report(Path("r.html"), [entry])
    text = Path("r.html").read_text()
    assert hostile not in text and "alert(1)</script>" not in text
    assert hostile in Page(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)).text


def test_stylize_and_show_write_reports(
    monkeypatch: pytest.MonkeyPatch,
    place: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    smooth_image(64, 64, 5).save("b.png")
    quick = [*FAST, "--model", model]
    call = ["stylize", "a.png", "b.png", "--style", "style.png", "--out", "results", *quick]
    assert run(monkeypatch, *call, "--report", "r.png") == 2
    assert "r.png would be an HTML page" in capsys.readouterr().err and not Path("results").exists()
    assert run(monkeypatch, *call, "--report", "r.html") == 0
    page = Page(Path("r.html").read_text())
    assert page.count("article") == page.count("div", "slider") == 2 and page.loaded == []
    assert "gram_distance" in page.text
    assert run(monkeypatch, "show", "results/a.png", "--report", "r.html", "--inputs", ".") == 0
    assert capsys.readouterr().out.strip().endswith("r-1.html") and Path("r-1.html").is_file()


def test_what_is_left_to_the_model_is_no_setting_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK)
    made.save("out.png")
    assert made.manifest["settings"]["guidance_scaling"] and "guidance_scaling" in made.manifest["recommended"]
    asked = repeating_command(Recorded.of(Path("out.png")))
    assert "guidance_scaling" not in asked and "--set steps=4" in asked
    explicit = tiny_studio().stylize("a.png", "style.png", 7, "guided", **QUICK, guidance_scaling="plain")
    explicit.save("explicit.png")
    assert "--set guidance_scaling=plain" in repeating_command(Recorded.of(Path("explicit.png")))
    assert explicit.picture.tobytes() == made.picture.tobytes()


@pytest.mark.parametrize("command", ["show", "reproduce"])
def test_a_file_that_is_not_there_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(monkeypatch, command, "nosuch.png") == 2
    assert "There is no file nosuch.png" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["s2prest", "diffstyler"])
def test_a_style_fitted_by_the_way_is_named_by_its_picture(place: Path, method: str) -> None:
    settings = {**QUICK, "fit_steps": 2, "fit_size": 64}
    made = tiny_studio().stylize("a.png", style="style.png", method=method, **settings)
    made.save("out.png")
    assert "--style style.png " in repeating_command(Recorded.of(Path("out.png")))
