"""Benchmarks: pairs, rows that survive a kill, outsiders, intervals, standings, sheets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_benchmark import same, samples_of, tiny_plan, tiny_run
from tests.tiny_house import tiny_house, tiny_studio
from velatura.app.benchmarking import Entrants
from velatura.app.report.benchmark_results import Heading, Results
from velatura.app.report.sheets import CAPTION, ROWS, TILE, worst_first, write_sheets
from velatura.app.studio import Studio
from velatura.errors import SettingError
from velatura.evaluation import gram_distance, measures
from velatura.evaluation.benchmark.kept import KeptRows
from velatura.evaluation.benchmark.plan import Pair, Plan, Sample, opened_samples, paired
from velatura.evaluation.benchmark.running import TimeLeft, run
from velatura.evaluation.benchmark.summary import bootstrap, standings, worst_tenth
from velatura.evaluation.measures import AT_ONE, CONTENT, DIRECTIONS, STYLE, scores_of
from velatura.evaluation.outsiders import OUTSIDERS, outsider_class
from velatura.evaluation.outsiders.gatys import Gatys
from velatura.picture.tensors import image_to_pixels

ROOT = Path(__file__).parents[1]
# The n-th writing of a picture or a row is the last thing that this process does, before or after it.
CHILD = """
import os, signal, sys
from pathlib import Path
from tests.tiny_benchmark import tiny_run
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


def test_standings_mark_the_front(tmp_path: Path) -> None:
    found = {each.entry: each for each in standings(tiny_run(tmp_path).rows)}
    assert found["photo"].on_front and found["photo"].measures[CONTENT].mean == pytest.approx(1)
    assert found["photo"].strength is None and found["styleid-wt_0.5"].strength == 0.5
    assert found["img2img-wt_0.5"].costs["evaluations"] > found["img2img-wt_0.25"].costs["evaluations"]


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


def test_the_outsider_with_a_prompt_runs_in_bf16(model: str) -> None:
    backbone = Studio(model, "cpu", "bf16").backbone
    outsider = outsider_class("img2img")(lambda: backbone)
    result = outsider.stylize(smooth_pixels(64, 64, 1), smooth_pixels(64, 64, 2), 0)
    assert backbone.dtype == torch.bfloat16 and bool(result.isfinite().all())
