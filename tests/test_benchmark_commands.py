"""velatura benchmark and velatura evaluate at the command line: folders, patterns of names, tables, the page."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import command_line
from tests.conftest import smooth_image
from tests.tiny_benchmark import samples_of
from tests.tiny_house import tiny_studio
from velatura.app.benchmarking import Entrants
from velatura.errors import PictureError, SettingError
from velatura.evaluation import measures
from velatura.evaluation.benchmark.plan import paired
from velatura.evaluation.benchmark.presets import PRESETS, public_contents
from velatura.evaluation.benchmark.results_folder import NamePattern, find_results
from velatura.evaluation.measures import Measure
from velatura.evaluation.published import means
from velatura.evaluation.published.means import PublishedMeasure


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name, seeds in (("contents", range(2)), ("styles", range(5, 7))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            smooth_image(64, 72, seed).save(tmp_path / name / f"p{seed}.png")
    return tmp_path / "contents", tmp_path / "styles"


def test_names_of_results_are_found_with_and_without_methods(tmp_path: Path) -> None:
    pairs = paired(samples_of(range(2), "c"), samples_of(range(2), "s"))
    for method in ("ours", "their_s"):
        (tmp_path / method).mkdir()
        for pair in pairs[:3]:
            smooth_image().save(tmp_path / method / f"{pair.name}.jpg")
    found = find_results(tmp_path, NamePattern("{method}/{content}_{style}.jpg"), pairs)
    assert [[*files] for _, files in found.files] == [["ours", "their_s"]] * 3
    assert found.missing == ["c1_s1 by ours", "c1_s1 by their_s"]
    one = find_results(tmp_path / "ours", NamePattern("{content}_{style}.jpg"), pairs)
    assert [[*files] for _, files in one.files] == [["ours"]] * 3
    with pytest.raises(PictureError, match=r"such as c0_s0.png"):
        find_results(tmp_path, NamePattern("{content}_{style}.png"), pairs)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{content}.png", "says nothing of {style}"),
        ("{photo}_{style}.png", "unknown field {photo}"),
        ("{content_{style}.png", "cannot be read|unknown field"),
        ("../{content}_{style}.png", "leads out"),
    ],
)
def test_bad_patterns_are_one_sentence(pattern: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        NamePattern(pattern).check(2)


def test_evaluate_writes_tables_and_a_page_without_links(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    results.mkdir()
    for content in range(2):
        smooth_image(64, 72, content).save(results / f"p{content}_p5.png")  # the photo itself
    assert command_line.run(monkeypatch, "evaluate", *folders, results, "--out", out, "--size", 64) == 0
    with (out / "results.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 2 and all(float(row["edge_f1"]) == 1 for row in rows)
    assert "2 results are missing, such as p0_p6 by results" in " ".join(capsys.readouterr().err.split())
    page = (out / "report.html").read_text()
    links = re.findall(r'(?:src|href)="(?!data:)', page)
    assert not links and "http" not in re.sub(r"data:image/[^\"]*", "", page) and page.count("<figure data-entry") == 2
    smooth_image(64, 72, 8).save(results / "p0_p5.png")  # another result under the same name is measured anew
    assert command_line.run(monkeypatch, "evaluate", *folders, results, "--out", out, "--size", 64) == 0
    with (out / "results.csv").open() as file:
        assert float(next(csv.DictReader(file))["edge_f1"]) < 1


def test_benchmark_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folders: tuple[Path, Path],
    model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    asked = ["benchmark", *folders, "--model", model, "--out", out, "--size", 64, "--methods", "quick=styleid"]
    asked += ["--set", "quick:steps=2", "--outsiders", "photo,palette", "--pairs", 3]
    assert command_line.run(monkeypatch, *asked) == 0
    with (out / "results.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["entry"] for row in rows] == ["photo", "palette", "quick"] * 3
    quick = rows[2]
    assert json.loads(quick["settings"])["steps"] == 2 and quick["method"] == "styleid"
    assert int(quick["evaluations"]) > 0 and float(quick["peak_memory_mib"]) > 0
    assert (out / quick["picture"]).is_file() and "torch" in json.loads(quick["versions"])
    assert "quick" in (out / "report.html").read_text()
    capsys.readouterr()
    assert command_line.run(monkeypatch, *asked, "--seed", 1) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a folder of photos"),
        (["--preset", "nothing"], "Unknown preset"),
        (["--preset", "styleid", "CONTENTS", "STYLES"], "20 photos in 40 styles, not 2 in 2"),
        (["--preset", "public", "CONTENTS", "STYLES"], "has its own pictures"),
        (["CONTENTS", "STYLES", "--strengths", "0.2,much"], "--strengths needs a number, not 'much'"),
        (["--preset", "styleid"], "a folder of 20 photos and one of 40 styles"),
    ],
)
def test_bad_benchmarks_are_one_sentence_and_write_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    named = {"CONTENTS": folders[0], "STYLES": folders[1]}
    out = tmp_path / "out"
    assert command_line.run(monkeypatch, "benchmark", *(named.get(each, each) for each in arguments), "--out", out) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_presets_have_known_names_and_the_public_one_brings_its_pictures() -> None:
    studio = tiny_studio()
    for preset in PRESETS.values():
        assert Entrants(preset.methods, preset.outsiders).entries(studio, preset.size)
    assert [picture.size for picture in public_contents()] == [(384, 384)] * 4


@pytest.fixture
def benchmarked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folders: tuple[Path, Path], model: str
) -> tuple[Path, list[object]]:
    """A folder where two commands put results of different outsiders, and the command that only tells of them."""
    out = tmp_path / "out"
    for outsider, pairs in (("palette", 3), ("photo,style", 4)):
        asked = ["benchmark", *folders, "--out", out, "--size", 64, "--methods", "-", "--outsiders", outsider]
        assert command_line.run(monkeypatch, *asked, "--pairs", pairs, "--model", model) == 0
    told = ["benchmark", *folders, "--out", out, "--size", 64, "--methods", "-", "--outsiders", "-"]
    return out, [*told, "--model", "nowhere"]


def rows_in(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return [*csv.DictReader(file)]


def test_results_of_several_commands_are_told_together_without_a_picture_or_a_model(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    benchmarked: tuple[Path, list[object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, told = benchmarked
    assert {row["entry"] for row in rows_in(out)} == {"photo", "style", "palette"}  # the last command's tables too
    before = {path: path.stat().st_mtime_ns for path in [*out.rglob("*.png"), *out.glob("rows/*/*.json")]}
    kinds = tmp_path / "kinds.json"
    kinds.write_text('{"dark": ["p5.png"], "no such kind": []}')
    for file in ("results.csv", "tables.md", "report.html"):
        (out / file).unlink()
    capsys.readouterr()
    assert command_line.run(monkeypatch, *told, "--kinds", kinds) == 0
    assert "palette has 3 of 4 pairs" in capsys.readouterr().err
    assert [row["entry"] for row in rows_in(out)[:3]] == ["photo", "style", "palette"] and len(rows_in(out)) == 11
    assert before == {path: path.stat().st_mtime_ns for path in before}
    tables = (out / "tables.md").read_text()
    assert [line for line in tables.splitlines() if line.startswith("Means")] == [
        "Means",
        "Means of the worst tenth by each measure",
        "Means of the kind dark, pairs: 2",
    ]
    page = (out / "report.html").read_text()
    assert "dark, pairs: 2" in page and "no such kind" not in page
    (out / "pictures" / "style" / "p0_p5.png").unlink()
    assert command_line.run(monkeypatch, *told) == 0
    assert "style has 3 of 4 pairs" in capsys.readouterr().err and len(rows_in(out)) == 10


def test_a_new_measure_is_taken_of_the_kept_picture_and_no_other_again(
    monkeypatch: pytest.MonkeyPatch, benchmarked: tuple[Path, list[object]]
) -> None:
    out, told = benchmarked
    before = rows_in(out)
    for path in out.glob("rows/*/p*.json"):
        row = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in row.items() if name != "lattice"}))
    taken: list[str] = []

    def counted(measure: Measure) -> Measure:
        def score(*pictures: Any) -> float:
            taken.append(measure.name)
            return measure.score(*pictures)

        return replace(measure, score=score)

    monkeypatch.setattr(measures, "TAKEN", {name: counted(measure) for name, measure in measures.TAKEN.items()})
    assert command_line.run(monkeypatch, *told) == 0
    assert taken == ["lattice"] * 11 and sorted(map(str, rows_in(out))) == sorted(map(str, before))


def test_what_cannot_be_told_of_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    benchmarked: tuple[Path, list[object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, told = benchmarked
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    kinds, none, wrong = tmp_path / "kinds.json", tmp_path / "none.json", tmp_path / "wrong.json"
    kinds.write_text("{"), none.write_text('{"dark": ["x.png"]}'), wrong.write_text('{"dark": "p5.png"}')
    other = out / "rows" / "photo" / "entry.json"
    for more, message in (
        (["--kinds", kinds], "is no file of kinds"),
        (["--kinds", wrong], "is no file of kinds"),
        (["--kinds", none], "names none of the styles, such as p5"),
        (["--kinds", tmp_path / "nowhere.json"], "cannot be read"),
        (["--seed", 1], "holds no results of these pictures at this size"),
        (["--out", tmp_path / "empty"], "holds no results"),
    ):
        capsys.readouterr()
        assert command_line.run(monkeypatch, *told, *more) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    other.write_text(other.read_text().replace('"model": "', '"model": "other'))
    assert command_line.run(monkeypatch, *told) == 2
    assert "results of several models" in " ".join(capsys.readouterr().err.split())
    assert {path for path, time in written.items() if path.stat().st_mtime_ns != time} == {other}
    assert not (tmp_path / "empty").exists()


def test_published_metrics_of_results(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, styles = folders
    asked = ["evaluate", str(contents), str(styles), str(contents), "--names", "{content}.png", "--size", "64"]
    asked = [each if each != str(styles) else str(styles / "p5.png") for each in asked]
    assert command_line.run(monkeypatch, *asked, "--out", str(tmp_path / "a"), "--published", "nonsense") == 2
    assert not (tmp_path / "a").exists()
    assert command_line.run(monkeypatch, *asked, "--out", str(tmp_path / "b"), "--published", "csd") == 2
    assert (tmp_path / "b" / "results.csv").exists()  # the rows are kept
    measure = PublishedMeasure("counted ↓", False, lambda result, content: float((result - content).abs().max()))
    monkeypatch.setattr(means, "PUBLISHED", {"counted": measure})
    assert command_line.run(monkeypatch, *asked, "--out", str(tmp_path / "c"), "--published", "counted") == 0
    assert "| contents | 0 |" in (tmp_path / "c" / "published.md").read_text()


def test_damaged_photos_and_results_are_told_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folders: tuple[Path, Path],
    model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folders[0] / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    asked = ["benchmark", *folders, "--model", model, "--out", out, "--size", 64, "--methods", "-"]
    assert command_line.run(monkeypatch, *asked, "--outsiders", "photo") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "broken.png is not a picture that can be read" in told and "It is left out." in told
    assert len(rows_in(out)) == 4 and "broken.png" in (out / "report.html").read_text()
    (folders[0] / "broken.png").unlink()
    results = out / "pictures" / "photo"
    whole = (results / "p0_p5.png").read_bytes()
    (results / "p0_p5.png").write_bytes(whole[: len(whole) // 2])
    measured = tmp_path / "measured"
    assert command_line.run(monkeypatch, "evaluate", *folders, results, "--out", measured, "--size", 64) == 1
    assert "p0_p5 by photo is left out" in " ".join(capsys.readouterr().err.split())
    assert len(rows_in(measured)) == 3 and "p0_p5 by photo is left out" in (measured / "report.html").read_text()
    for row in out.glob("rows/photo/p0_p5.json"):
        row.unlink()
    assert command_line.run(monkeypatch, *asked, "--outsiders", "-") == 0
    assert "photo has 3 of 4 pairs" in capsys.readouterr().err and len(rows_in(out)) == 3
    assert command_line.run(monkeypatch, *asked, "--outsiders", "photo") == 0  # the damaged one is made again
    assert len(rows_in(out)) == 4
    (tmp_path / "empty").mkdir()
    assert command_line.run(monkeypatch, "evaluate", tmp_path / "empty", folders[1], results, "--out", "nowhere") == 2
    assert "--recursive" not in capsys.readouterr().err


def test_a_benchmarks_pictures_explain_themselves(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folders: tuple[Path, Path],
    model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    asked = ["benchmark", *folders, "--model", model, "--out", out, "--size", 64, "--methods", "styleid", "--pairs", 1]
    assert command_line.run(monkeypatch, *asked, "--set", "styleid:steps=2", "--outsiders", "palette") == 0
    picture = out / "pictures" / "styleid" / "p0_p5.png"
    assert command_line.run(monkeypatch, "show", picture) == 0
    assert "styleid" in capsys.readouterr().out
    inputs = ["--inputs", out / "library" / "inputs"]
    again = tmp_path / "again.png"
    assert command_line.run(monkeypatch, "reproduce", picture, *inputs, "--model", model, "--out", again) == 0
    assert "the same, bit for bit" in capsys.readouterr().err
    for command in ("show", "reproduce"):
        assert command_line.run(monkeypatch, command, out / "pictures" / "palette" / "p0_p5.png") == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "was made by the outsider palette in a benchmark" in told and "run the benchmark again" in told
