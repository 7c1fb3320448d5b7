"""velatura benchmark and velatura evaluate: pairs, rows that survive a kill, summaries, outsiders, the page."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import command_line
from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_house import tiny_house, tiny_studio
from velatura.app.benchmarking import Entrants
from velatura.app.report.benchmark_results import Heading, Results
from velatura.app.report.sheets import CAPTION, ROWS, TILE, worst_first, write_sheets
from velatura.app.studio import Studio
from velatura.errors import PictureError, SettingError
from velatura.evaluation import gram_distance, measures
from velatura.evaluation.benchmark.kept import KeptRows
from velatura.evaluation.benchmark.plan import Pair, Plan, Sample, opened_samples, paired
from velatura.evaluation.benchmark.presets import PRESETS, public_contents
from velatura.evaluation.benchmark.results_folder import NamePattern, find_results
from velatura.evaluation.benchmark.running import Outcome, TimeLeft, run
from velatura.evaluation.benchmark.summary import bootstrap, standings, worst_tenth
from velatura.evaluation.measures import AT_ONE, CONTENT, DIRECTIONS, STYLE, Measure, scores_of
from velatura.evaluation.outsiders import OUTSIDERS, outsider_class
from velatura.evaluation.outsiders.gatys import Gatys
from velatura.evaluation.published import means
from velatura.evaluation.published.means import PublishedMeasure
from velatura.picture.tensors import image_to_pixels

ROOT = Path(__file__).parents[1]
COSTS = {"seconds", "fit_seconds", "peak_memory_mib"}  # what no two runs have alike
# The n-th writing of a picture or a row is the last thing that this process does, before or after it.
CHILD = """
import os, signal, sys
from pathlib import Path
from tests.test_benchmark import tiny_run
from velatura.evaluation.benchmark.kept import KeptRows

what, number, moment, out = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
usual, count = getattr(KeptRows, what), 0

def deadly(self, *arguments):
    global count
    count += 1
    if count == number and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    usual(self, *arguments)
    if count == number:
        os.kill(os.getpid(), signal.SIGKILL)

setattr(KeptRows, what, deadly)
tiny_run(out)
"""


def samples_of(seeds: range, name: str) -> list[Sample]:
    return [Sample(f"{name}{seed}", f"{name}{seed}" * 8, smooth_image(64, 64, seed)) for seed in seeds]


def tiny_plan(out: Path) -> Plan:
    studio = tiny_studio(out / "library" / "styles")
    entries = Entrants("styleid", "photo,img2img", ["styleid:steps=4"], [0.25, 0.5]).entries(studio, 64)
    pairs = paired(samples_of(range(2), "c"), samples_of(range(5, 6), "s"))
    return Plan(pairs, entries, 64, 0, "tiny")


def tiny_run(out: Path) -> Outcome:
    torch.set_num_threads(1)
    return run(tiny_plan(out), KeptRows(out), torch.device("cpu"), lambda text: None)


def same(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in COSTS} for row in rows]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name, seeds in (("contents", range(2)), ("styles", range(5, 7))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            smooth_image(64, 72, seed).save(tmp_path / name / f"p{seed}.png")
    return tmp_path / "contents", tmp_path / "styles"


def test_three_kills_and_a_resume_give_the_same_table(tmp_path: Path) -> None:
    out, environment = tmp_path / "killed", {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    for what, number, moment, left in (
        ("keep_row", 3, "before", (2, 3)),  # a picture is there, its row is not
        ("keep_picture", 3, "before", (5, 5)),  # painted, and lost
        ("keep_row", 2, "after", (7, 7)),
    ):
        child = [sys.executable, "-c", CHILD, what, str(number), moment, str(out)]
        assert subprocess.run(child, env=environment, check=False).returncode == -signal.SIGKILL
        rows = [path for path in out.rglob("*.json") if path.name != "entry.json"]
        before = {path: path.stat().st_mtime_ns for path in (out / "pictures").rglob("*.png")}
        assert (len(rows), len(before)) == left
    resumed, straight = tiny_run(out), tiny_run(tmp_path / "straight")
    assert same(resumed.rows) == same(straight.rows) and len(resumed.rows) == 2 * 5
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())  # nothing was painted twice
    assert not [*out.rglob("*.part")]
    again = tiny_run(out)
    assert again.rows == resumed.rows


def test_a_folder_of_other_settings_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    plan, kept = tiny_plan(tmp_path), KeptRows(tmp_path)
    kept.claim(plan.entries[0], plan)
    other = Plan(plan.pairs, plan.entries, 64, 1, "tiny")
    with pytest.raises(SettingError, match=r"other settings \(seed\)"):
        run(other, kept, torch.device("cpu"), lambda text: None)
    assert not [*tmp_path.rglob("*.png")]


def test_a_picture_that_changed_is_done_again(tmp_path: Path) -> None:
    plan, kept = tiny_plan(tmp_path), KeptRows(tmp_path)
    photo = Plan(plan.pairs[:1], plan.entries[:1], 64, 0, "tiny")
    first = run(photo, kept, torch.device("cpu"), lambda text: None).rows[0]
    content = photo.pairs[0].content
    changed = Pair(Sample(content.name, "other", smooth_image(64, 64, 9)), photo.pairs[0].style)
    second = run(Plan([changed], photo.entries, 64, 0, "tiny"), kept, torch.device("cpu"), lambda text: None).rows[0]
    assert second["content_sha256"] == "other" and second["gram"] != first["gram"]


def test_what_cannot_be_made_is_told_and_the_rest_is_made(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)

    class Refusing(outsider_class("photo")):  # type: ignore[misc]
        name = "refusing"

        def stylize(self, content: torch.Tensor, style: torch.Tensor, seed: int) -> torch.Tensor:
            raise SettingError("No.")

    broken = type(plan.entries[0])("refusing", Refusing(tiny_house))
    both = Plan(plan.pairs, [broken, plan.entries[0]], 64, 0, "tiny")
    said: list[str] = []
    outcome = run(both, KeptRows(tmp_path), torch.device("cpu"), said.append)
    assert len(outcome.rows) == 2 and outcome.failures == [f"refusing, {pair.name}: No." for pair in plan.pairs]
    assert set(outcome.failures) < set(said)


def test_pairs_are_all_or_as_many_as_asked_and_use_everything() -> None:
    contents, styles = samples_of(range(4), "c"), samples_of(range(5), "s")
    assert len(paired(contents, styles)) == 20
    for count in (5, 12, 19):
        chosen = paired(contents, styles, count)
        assert len({pair.name for pair in chosen}) == len(chosen) == count
        assert len({pair.content.name for pair in chosen}) == 4
    assert {pair.style.name for pair in paired(contents, styles, 5)} == {style.name for style in styles}


def test_names_that_stand_twice_get_numbers(tmp_path: Path) -> None:
    for ending in ("png", "webp"):
        smooth_image().save(tmp_path / f"a.{ending}")
    assert [each.name for each in opened_samples(sorted(tmp_path.iterdir()), 64)] == ["a", "a-1"]


@pytest.mark.parametrize(
    ("methods", "outsiders", "settings", "message"),
    [
        ("nobody", "", [], "Unknown method"),
        ("", "nobody", [], "Unknown outsider"),
        ("", "", [], "Nobody takes part"),
        ("guided,guided", "", [], "named twice"),
        ("photo=guided", "photo", [], "a method and as an outsider"),
        ("../x=guided", "", [], "names a folder"),
        ("guided", "", ["strength=1"], "LABEL:NAME=VALUE"),
        ("guided", "", ["guided:colour_wheel=1"], "no setting"),
    ],
)
def test_bad_entrants_are_one_sentence(methods: str, outsiders: str, settings: list[str], message: str) -> None:
    studio = tiny_studio()
    with pytest.raises(SettingError, match=message):
        Entrants(methods, outsiders, settings).entries(studio, 64)


def test_strengths_are_for_those_that_have_one() -> None:
    names = [entry.name for entry in tiny_plan(Path("nowhere")).entries]
    assert names == ["photo", "img2img-wt_0.25", "img2img-wt_0.5", "styleid-wt_0.25", "styleid-wt_0.5"]


@pytest.mark.parametrize("name", [name for name in OUTSIDERS if name != "gatys"])
def test_every_outsider_gives_a_picture_of_the_contents_size_by_the_seed(name: str) -> None:
    outsider = outsider_class(name)(tiny_house)
    content, style = smooth_pixels(64, 96, 1), smooth_pixels(72, 64, 2)
    outsider.prepare(style)
    first, second = (outsider.stylize(content, style, 3) for _ in range(2))
    assert first.shape == content.shape and first.dtype == torch.float32
    assert torch.equal(first, second) and first.abs().max() <= 1
    json.dumps(outsider.settings)
    assert outsider.name == name


def test_gatys_comes_nearer_to_the_styles_texture_and_keeps_the_content() -> None:
    content, style = image_to_pixels(smooth_image(64, 64, 1)), smooth_pixels(64, 64, 2)  # with a picture's strides
    result = Gatys(tiny_house, iterations=6).stylize(content, style, 0)
    assert gram_distance(result, style) < 0.7 * gram_distance(content, style)
    assert scores_of(result, content, style)[CONTENT] > 0.5


def test_the_bounds_of_the_combined_scores() -> None:
    content, style = smooth_pixels(64, 64, 1), smooth_pixels(64, 64, 2)
    assert scores_of(content, content, style)[CONTENT] == pytest.approx(1)
    assert scores_of(style, content, style)[STYLE] == pytest.approx(1, abs=1e-4)
    assert set(scores_of(content, content, style)) == set(DIRECTIONS)


def test_intervals_hold_the_mean_and_narrow_with_more_pictures() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for side in (4, 12):
        names = [(f"c{i}", f"s{j}") for i in range(side) for j in range(side)]
        values = rng.normal(1.0, 0.1, len(names))
        ((low, high),) = bootstrap(names, {"x": values}).values()
        assert low < values.mean() < high
        widths.append(high - low)
    assert widths[1] < widths[0]
    assert bootstrap([("c", "s")], {"x": np.array([2.0])}) == {"x": (2.0, 2.0)}


def test_an_interval_counts_contents_not_pictures() -> None:
    names = [(f"c{i}", f"s{j}") for i in range(3) for j in range(40)]
    values = np.repeat([0.0, 1.0, 2.0], 40)  # all that differs is the content
    ((low, high),) = bootstrap(names, {"x": values}).values()
    assert high - low > 1.0  # 120 independent pictures would give 0.3


def test_time_left_waits_until_everyone_was_seen() -> None:
    left = TimeLeft({"a": 2, "b": 2})
    left.done("a", 3.0)
    assert left.seconds is None
    left.done("b", 1.0)
    assert left.seconds == 4.0


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


def test_standings_mark_the_front(tmp_path: Path) -> None:
    found = {each.entry: each for each in standings(tiny_run(tmp_path).rows)}
    assert found["photo"].on_front and found["photo"].measures[CONTENT].mean == pytest.approx(1)
    assert found["photo"].strength is None and found["styleid-wt_0.5"].strength == 0.5
    assert found["img2img-wt_0.5"].costs["evaluations"] > found["img2img-wt_0.25"].costs["evaluations"]


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


def test_sheets_show_the_worst_pairs_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pairs = paired(samples_of(range(12), "c"), samples_of(range(5, 6), "s"))
    bad = {pair.name: number % 5 + number / 100 for number, pair in enumerate(pairs)}
    rows = [
        {
            "content": pair.content.name,
            "style": pair.style.name,
            "entry": "ours",
            "method": "guided",
            "picture": f"{pair.name}.png",
            **{name: -better * bad[pair.name] for name, better in DIRECTIONS.items()},
        }
        for pair in pairs
    ]
    for pair in pairs:
        pair.content.image.save(tmp_path / f"{pair.name}.png")
    results = Results(Heading("", "", 64), rows, pairs, tmp_path)
    ordered = worst_first(results, "edge_f1")
    assert [bad[pair.name] for pair in ordered] == sorted(bad.values(), reverse=True)
    assert [path.name for path in write_sheets(results, out)] == [
        "worst-edge_f1.jpg",
        "worst-structure.jpg",
        "worst-invented.jpg",
        "all-1.jpg",
        "all-2.jpg",
    ]
    sizes = [Image.open(out / "sheets" / f"all-{number}.jpg").size for number in (1, 2)]
    assert sizes == [(3 * TILE, ROWS * (TILE + CAPTION)), (3 * TILE, 2 * (TILE + CAPTION))]
    write_sheets(Results(results.heading, rows[:3], pairs, tmp_path), out)  # fewer pairs than before
    assert not (out / "sheets" / "all-2.jpg").exists()


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


def test_scores_inside_a_mask_do_not_see_the_rest() -> None:
    content, style = smooth_pixels(64, 64, 1), smooth_pixels(64, 64, 2)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    result = torch.where(mask > 0, content * 0.9, torch.ones(()))
    inside, whole = scores_of(result, content, style, mask), scores_of(result, content, style)
    assert inside["clipped"] == 0 and whole["clipped"] == 0.5
    assert inside["gradients"] > 0.9 > whole["gradients"] + 0.1
    known = scores_of(result, content, style, mask, {**inside, "gram": 0.0})
    assert known["gram"] == 0 and known[STYLE] > inside[STYLE] and known[CONTENT] == inside[CONTENT]


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


def test_a_measure_that_is_best_at_one_is_worst_farthest_from_it() -> None:
    assert DIRECTIONS["range"] == DIRECTIONS["lattice"] == AT_ONE
    assert measures.title("range") == "range → 1"
    assert worst_tenth(np.array([*[1.0] * 9, 3.0]), AT_ONE) == 3.0
    assert worst_tenth(np.array([*[1.1] * 9, 0.5]), AT_ONE) == 0.5
    assert worst_tenth(np.array([*[1.0] * 18, 0.5, 1.5]), AT_ONE) == 0.5  # they do not cancel


def test_whatever_stops_one_entry_the_others_go_on(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    photo = outsider_class("photo")

    class Crashing(photo):  # type: ignore[misc, valid-type]
        name = "crashing"

        def stylize(self, content: torch.Tensor, style: torch.Tensor, seed: int) -> torch.Tensor:
            raise RuntimeError("not implemented\nat length")

    class Unbounded(photo):  # type: ignore[misc, valid-type]
        name = "unbounded"

        def stylize(self, content: torch.Tensor, style: torch.Tensor, seed: int) -> torch.Tensor:
            return content / 0

    entry = type(plan.entries[0])
    entries = [entry("crashing", Crashing(tiny_house)), entry("unbounded", Unbounded(tiny_house)), plan.entries[0]]
    outcome = run(Plan(plan.pairs, entries, 64, 0, "tiny"), KeptRows(tmp_path), torch.device("cpu"), lambda text: None)
    assert [row["entry"] for row in outcome.rows] == ["photo", "photo"]
    assert outcome.failures[0] == "crashing, c0_s5: RuntimeError: not implemented"
    assert "unbounded, c0_s5: ValueError: The pixels hold numbers that are not finite" in outcome.failures[1]
    assert not [*tmp_path.glob("pictures/unbounded/*")]


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


def test_the_outsider_with_a_prompt_runs_in_bf16(model: str) -> None:
    backbone = Studio(model, "cpu", "bf16").backbone
    outsider = outsider_class("img2img")(lambda: backbone)
    result = outsider.stylize(smooth_pixels(64, 64, 1), smooth_pixels(64, 64, 2), 0)
    assert backbone.dtype == torch.bfloat16 and bool(result.isfinite().all())
