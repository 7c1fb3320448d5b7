"""No command loses a file, and a folder of photos is done as far as it can be."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.command_line import FAST, run
from tests.conftest import smooth_image
from velatura.app.files import ContentFile, Naming, find_contents, style_labels
from velatura.app.photo_progress import PhotoProgress
from velatura.app.targets import Inputs, Plan, Target, check_writable, one_file, one_folder
from velatura.errors import TargetError, VelaturaError
from velatura.picture import read_manifest
from velatura.picture.writing import replacing
from velatura.progress import Silent

T = TypeVar("T")
NOTHING = Inputs([])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: photos a.jpg and b.png in photos/, two styles."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    smooth_image(72, 96, 0).save("photos/a.jpg")
    smooth_image(96, 72, 1).save("photos/b.png")
    smooth_image(64, 64, 2).save("style.png")
    smooth_image(64, 64, 3).save("other.png")
    return tmp_path


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "home" not in str(path)}


def names(plan: Plan) -> list[str]:
    return [target.file.name for target in plan.targets]


def plan_of(*wishes: Path, inputs: Inputs = NOTHING, force: bool = False) -> Plan:
    return Plan([Target(wish) for wish in wishes], inputs, force)


def contents(*paths: str) -> list[ContentFile]:
    return [ContentFile(Path(path)) for path in paths]


# Planning


def test_every_result_has_a_file_of_its_own(tmp_path: Path) -> None:
    wished = Naming(tmp_path).wishes(contents("x/a.jpg", "y/a.jpg", "a-0.jpg", "a-1.jpg", "A.png"), ["s"], [0.5])
    made = names(Plan(list(wished.values()), NOTHING))
    assert made == ["a.png", "a-2.png", "a-0.png", "a-1.png", "A-3.png"]
    assert len({name.casefold() for name in made}) == 5


@pytest.mark.parametrize("layout", ["flat", "paper"])
def test_near_strengths_and_styles_of_one_name_do_not_share_a_file(tmp_path: Path, layout: str) -> None:
    wished = Naming(tmp_path, layout).wishes(contents("a.jpg"), ["dusk", "Dusk"], [0.2, 0.2000001])
    assert len({str(target.file).casefold() for target in wished.values()}) == 4
    assert "wt_0.2000001" in str(wished[0, 0, 1].file)
    assert style_labels(["a/b", "../a", "", "ä" * 200])[:2] == ["a_b", "_a"]


def test_existing_files_stay_unless_forced(tmp_path: Path) -> None:
    for name in ("a.png", "a-1.png", "b.png.json"):
        (tmp_path / name).write_text("kept")
    plan = plan_of(tmp_path / "a.png")
    assert names(plan) == ["a-2.png"] and "a.png exists" in plan.notes[0] and "--force" in plan.notes[0]
    assert names(plan_of(tmp_path / "a.png", force=True)) == ["a.png"]
    beside = Plan([Target(tmp_path / "b.png", with_sidecar=True)], NOTHING)
    assert [path.name for path in beside.targets[0].files] == ["b-1.png", "b-1.png.json"]
    (tmp_path / "c.png").symlink_to("nowhere")
    assert names(plan_of(tmp_path / "c.png")) == ["c-1.png"]


def test_a_number_never_meets_another_target_or_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("kept")
    assert names(plan_of(tmp_path / "a.png", tmp_path / "a-1.png")) == ["a-2.png", "a-1.png"]
    (tmp_path / "b-1.png").write_text("an input")
    twice = plan_of(tmp_path / "b.png", tmp_path / "b.png", inputs=Inputs([tmp_path / "b-1.png"]), force=True)
    assert names(twice) == ["b.png", "b-2.png"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("way", ["itself", "case", "symlink", "hardlink", "folder"])
def test_no_target_is_an_input(tmp_path: Path, way: str, force: bool) -> None:
    photo = tmp_path / "photo.png"
    photo.write_text("photo")
    target = {"itself": tmp_path / "." / "photo.png", "case": tmp_path / "PHOTO.png", "folder": tmp_path}.get(
        way, tmp_path / "other.png"
    )
    if way == "symlink":
        target.symlink_to(photo)
    if way == "hardlink":
        os.link(photo, target)
    with pytest.raises(TargetError, match="would be lost"):
        plan_of(target, inputs=Inputs([photo]), force=force)


def test_what_becomes_a_folder_does_not_become_a_file(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "a.png", tmp_path / "a.png" / "b.png")
    assert names(plan) == ["a-1.png", "b.png"]
    (tmp_path / "c.png").mkdir()
    assert names(plan_of(tmp_path / "c.png", force=True)) == ["c-1.png"]


def test_impossible_targets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe.png")
    impossible = {
        tmp_path / ("n" * 300 + ".png"): "300|304 bytes",
        tmp_path / ("n" * 300) / "a.png": "300 bytes",
        tmp_path / "/".join(["n" * 200] * 25) / "a.png": "limit of 4096",
        tmp_path / "file" / "a.png": "is no folder",
        tmp_path / "pipe.png": "no regular file",
        Path("/proc/a.png"): "cannot be written",
    }
    before = sorted(tmp_path.iterdir())
    for path, sentence in impossible.items():
        with pytest.raises(TargetError, match=sentence):
            plan_of(path)
    check_writable(tmp_path / "new" / "folder" / "a.png")
    assert sorted(tmp_path.iterdir()) == before


def test_a_name_at_the_limit_can_be_written(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = "n" * 251 + ".png"
    assert (
        run(monkeypatch, "stylize", "photos/a.jpg", "--style", "style.png", "--out", out, "--model", model, *FAST) == 0
    )
    assert (here / out).is_file()


def test_results_of_two_programs_at_once_do_not_meet(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "a.png", tmp_path / "a-1.png")
    (tmp_path / "a.png").write_text("another program's")
    assert plan.now_free(plan.targets[0]).file.name == "a-2.png"
    assert plan.now_free(plan.targets[1]) == plan.targets[1]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "a.safetensors") as unfinished:
        save_file({"a": torch.zeros(2)}, unfinished)
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_no_file_of_another_program_is_taken_for_an_abandoned_one(tmp_path: Path) -> None:
    others = tmp_path / ".download.part"
    others.write_text("half")
    os.utime(others, (0, 0))
    with replacing(tmp_path / "b.txt") as unfinished:
        unfinished.write_text("b")
    assert others.is_file()


def test_one_file_and_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TargetError, match="is a folder"):
        one_file(tmp_path, [], force=True)
    folder, checkpoint = tmp_path / "adm", tmp_path / "adm" / "adm.pt"
    folder.mkdir()
    assert one_folder(folder, [], force=False) == folder
    checkpoint.write_text("")
    assert one_folder(folder, [], force=False) == tmp_path / "adm-1" and "adm exists" in capsys.readouterr().err
    assert one_folder(folder, [], force=True) == folder
    with pytest.raises(TargetError, match="would be lost"):
        one_folder(folder, [checkpoint], force=True)


# Commands


def test_no_command_replaces_a_file_unasked(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["stylize", "photos/a.jpg", "--style", "style.png", "--out", "o.png", "--sidecar", "--model", model, *FAST]
    assert run(monkeypatch, *call) == 0
    first = (here / "o.png").read_bytes()
    capsys.readouterr()
    assert run(monkeypatch, *call, "--seed", 1) == 0
    told = capsys.readouterr()
    assert "o.png exists: the result goes to o-1.png" in told.err and told.out.split() == ["o-1.png"]
    assert (here / "o.png").read_bytes() == first and (here / "o-1.png.json").is_file()
    assert run(monkeypatch, *call, "--seed", 1, "--force") == 0
    assert (here / "o.png").read_bytes() != first
    for force in ([], ["--force"]):
        box = ["mask", "photos/b.png", "--box", "10,10,60,60", "--out", "m.png"]
        assert run(monkeypatch, *box, *force) == 0
        assert run(monkeypatch, "fit", "style.png", "--name", "dusk", "--model", model, *force) == 0
        assert run(monkeypatch, "styles", "export", "dusk", "--out", "dusk.safetensors", *force) == 0
        (here / "m.png").write_text("mine")
        (here / "dusk.safetensors").write_text("mine")
        assert run(monkeypatch, *box) == 0 and (here / "m.png").read_text() == "mine"
        assert run(monkeypatch, "styles", "export", "dusk", "--out", "dusk.safetensors") == 0
        assert (here / "dusk.safetensors").read_text() == "mine" and (here / "dusk-1.safetensors").is_file()


LOST = {
    "the style": ["stylize", "photos/a.jpg", "--style", "style.png", "--out", "style.png"],
    "a mixed style": [
        *["stylize", "photos/a.jpg", "--style", "style.png=1", "--style", "other.png=1"],
        *["--out", "other.png"],
    ],
    "the mask": ["stylize", "photos/a.jpg", "--region", "other.png=style.png", "--out", "other.png"],
    "everything but the mask": ["stylize", "photos/a.jpg", "--region", "not:other.png=style.png", "--out", "other.png"],
    "a region's style with a weight": [
        *["stylize", "photos/a.jpg", "--region", "other.png=style.png*0.5@0-0.5", "--out", "style.png"],
    ],
    "a region's style": ["stylize", "photos/a.jpg", "--region", "other.png=style.png@0-0.5", "--out", "style.png"],
    "an edge picture": [
        *["stylize", "photos/a.jpg", "--style", "style.png", "--method", "s2prest"],
        *["--set", "edges=other.png", "--out", "other.png"],
    ],
    "another content": ["stylize", "photos/a.jpg", "photos/b.png", "--style", "style.png", "--out", "photos"],
    "masked content": ["mask", "photos/b.png", "--box", "1,1,9,9", "--out", "photos/b.png"],
    "a left-out mask": ["mask", "photos/b.png", "--box", "1,1,9,9", "--without", "other.png", "--out", "other.png"],
}


@pytest.mark.parametrize("case", LOST)
def test_inputs_are_never_targets(
    case: str, here: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bytes_of(here)
    call = [*LOST[case], "--force", *(["--model", "is-not-loaded"] if LOST[case][0] == "stylize" else [])]
    assert run(monkeypatch, *call) == 2
    assert "would be lost" in " ".join(capsys.readouterr().err.split())
    assert bytes_of(here) == before


# Folders of photos


def test_one_bad_photo_does_not_stop_the_others(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "photos" / "a-bad.jpg").write_text("no picture")
    call = ["stylize", "photos", "--style", "style.png", "--out", "out", "--model", model, *FAST]
    assert run(monkeypatch, *call) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "a-bad.jpg is not a picture" in said and "1 of 3 photos were skipped" in said
    assert sorted(path.name for path in (here / "out").iterdir()) == ["a.png", "b.png"]
    for name in ("x.jpg", "y.jpg"):
        (here / name).write_text("no picture")
    assert run(monkeypatch, "stylize", "x.jpg", "y.jpg", "--style", "style.png", "--out", "none", "--model", model) == 2
    assert not (here / "none").exists()


def test_photos_that_share_a_pass_are_saved_though_one_fails(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from velatura.methods.s2prest import S2PreST

    original, calls = S2PreST._run, []

    def failing(self: S2PreST, working: Sequence[object], context: object) -> object:
        calls.append(len(working))
        if any(content.picture.name == "b" for content in working):  # type: ignore[attr-defined]
            raise VelaturaError("b cannot be done: leave it out.")
        return original(self, working, context)  # type: ignore[arg-type]

    monkeypatch.setattr(S2PreST, "_run", failing)
    smooth_image(72, 96, 5).save("photos/c.jpg")
    smooth_image(72, 96, 6).save("photos/b.png")
    fit = ["--set", "fit_steps=1", "--set", "fit_size=64", "--set", "fit_views=1", "--set", "fit_batch=1"]
    call = ["stylize", "photos", "--method", "s2prest", "--style", "style.png", "--out", "out", "--model", model]
    assert run(monkeypatch, *call, *FAST, *fit) == 1
    assert sorted(path.name for path in (here / "out").iterdir()) == ["a.png", "c.png"] and calls[0] == 3


def test_results_are_saved_one_by_one(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from velatura.methods.guided import method

    original, left = method.start_latents, iter([1])

    def once(*given: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(method, "start_latents", once)
    call = ["stylize", "photos", "--style", "style.png", "--out", "out", "--model", model, *FAST]
    assert run(monkeypatch, *call) == 130
    assert [path.name for path in (here / "out").iterdir()] == ["a.png"]


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The contents of which a run of guided starts from now on."""
    from velatura.methods.guided import Guided

    original, started = Guided._run, []

    def counted(self: Guided, working: Sequence[object], context: object) -> object:
        started.extend(content.picture.name for content in working)  # type: ignore[attr-defined]
        return original(self, working, context)  # type: ignore[arg-type]

    monkeypatch.setattr(Guided, "_run", counted)
    return started


def test_resume_makes_what_is_missing_or_was_asked_for_otherwise(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = count_runs(monkeypatch)
    call = ["stylize", "photos", "--style", "style.png", "--out", "out", "--model", model, *FAST, "--resume"]
    assert run(monkeypatch, *call) == 0 and started == ["a", "b"]
    made = bytes_of(here / "out")
    assert run(monkeypatch, *call) == 0 and started == ["a", "b"]
    assert "2 of 2 results are there already" in " ".join(capsys.readouterr().err.split())
    (here / "out" / "b.png").unlink()
    assert run(monkeypatch, *call) == 0 and started == ["a", "b", "b"]
    kept, made = made, bytes_of(here / "out")
    first = str(here / "out" / "a.png")
    assert made.keys() == kept.keys() and made[first] == kept[first]
    smooth_image(72, 96, 9).save("photos/a.jpg")  # another photo, another result; the first stays
    assert run(monkeypatch, *call) == 0 and started[3:] == ["a"]
    assert {**bytes_of(here / "out"), **made} == bytes_of(here / "out") and (here / "out" / "a-1.png").is_file()
    assert run(monkeypatch, *call) == 0 and len(started) == 4
    for other in (["--seed", 1], ["--steps", 5], ["--set", "guidance_scale=2"]):
        before = len(started)
        assert run(monkeypatch, *call, *other) == 0 and len(started) == before + 2, other
    smooth_image(64, 64, 8).save("style.png")
    assert run(monkeypatch, *call) == 0 and len(started) == 12


def test_resume_makes_anew_what_a_retrained_network_painted(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from velatura.methods.guided import method as guided_method
    from velatura.models.house.backbone import HouseBackbone

    networks, started = {"fast_adapter": "a1", "fast_strokes": "s1"}, count_runs(monkeypatch)
    monkeypatch.setattr(HouseBackbone, "fast_networks", networks)
    told = {"fast_networks": {"fast_adapter": "a1"}}
    monkeypatch.setattr(guided_method, "start_described", lambda *_: told)
    call = ["stylize", "photos", "--style", "style.png", "--out", "out", "--model", model, *FAST, "--resume"]
    assert run(monkeypatch, *call) == 0 and started == ["a", "b"]
    networks["fast_strokes"] = "s2"  # it took no part
    assert run(monkeypatch, *call) == 0 and started == ["a", "b"]
    networks["fast_adapter"] = "a2"
    assert run(monkeypatch, *call) == 0 and started == ["a", "b", "a", "b"]


def test_resume_knows_photos_of_one_name_apart(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "more").mkdir()
    smooth_image(72, 96, 4).save("more/a.jpg")
    (here / "photos" / "b.png").unlink()
    started = count_runs(monkeypatch)
    call = ["stylize", "photos", "more", "--style", "style.png", "--out", "out", "--model", model, *FAST, "--resume"]
    assert run(monkeypatch, *call) == 0
    (here / "out" / "a.png").unlink()
    assert run(monkeypatch, *call) == 0 and len(started) == 3
    assert run(monkeypatch, *call) == 0 and len(started) == 3


def test_subfolders_keep_their_places(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "photos" / "day" / ".hidden").mkdir(parents=True)
    for name in ("day/a.jpg", "day/.hidden/x.jpg"):
        smooth_image(72, 96, 4).save(here / "photos" / name)
    assert [content.path.name for content in find_contents([here / "photos"])] == ["a.jpg", "b.png"]
    call = ["stylize", "photos", "--style", "style.png", "--out", "photos/out", "--model", model, *FAST, "--recursive"]
    made = ["a.png", "b.png", "day/a.png"]
    for _ in range(2):  # what was made is no photo the next time
        assert run(monkeypatch, *call, "--resume") == 0
        assert sorted(str(p.relative_to(here / "photos/out")) for p in (here / "photos/out").rglob("*.png")) == made
    twice = find_contents([here / "photos", here / "photos" / "a.jpg"], recursive=True, results=here / "photos" / "out")
    assert len(twice) == 3


def test_several_styles_are_a_sheet_that_shares_inversions(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inversions: list[int] = []
    from velatura.diffusion import cached_inversion

    original = cached_inversion.invert

    def counted(*given: object) -> object:
        inversions.append(len(given[2]))  # type: ignore[arg-type]
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(cached_inversion, "invert", counted)
    call = ["stylize", "photos", "--model", model, *FAST, "--set", "start=inversion"]
    call += ["--set", "palette=0", "--set", "contrast=0"]  # what moves the start towards the style
    assert run(monkeypatch, *call, "--style", "style.png", "--style", "other.png", "--out", "sheet") == 0
    made = sorted(path.name for path in (here / "sheet").iterdir())
    assert made == ["a-other.png", "a-style.png", "b-other.png", "b-style.png"]
    assert sum(count > 0 for count in inversions) == 2
    assert read_manifest(here / "sheet/a-other.png")["style"]["name"] == "other"
    assert run(monkeypatch, *call, "--style", "other.png", "--out", "alone") == 0
    pixels = (np.asarray(Image.open(here / path)) for path in ("sheet/a-other.png", "alone/a.png"))
    assert np.array_equal(*pixels)
    assert run(monkeypatch, *call, "--style", "style.png=0.5", "--style", "other.png=0.5", "--out", "mix") == 0
    assert sorted(path.name for path in (here / "mix").iterdir()) == ["a.png", "b.png"]


def test_a_missing_style_stops_before_anything_is_made(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["stylize", "photos", "--model", model, *FAST, "--out", "out", "--style", "style.png", "--style", "mist"]
    assert run(monkeypatch, *call) == 2
    said = capsys.readouterr().err.strip()
    assert "no style 'mist'" in said and "\n" not in said and not (here / "out").exists()


class Told(Silent):
    """Remembers the names of loops."""

    def __init__(self) -> None:
        self.loops: list[str] = []

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        self.loops.append(what)
        yield from items


def test_the_photo_and_the_time_left_are_told() -> None:
    told, clock = Told(), itertools.count(0, 125)
    progress = PhotoProgress(told, lambda: next(clock))
    for number, done in ((1, 0), (3, 2)):
        progress.start(str(number), 40, done, 4 - done)
        assert list(progress.track([1, 2], "denoising")) == [1, 2]
    assert told.loops == ["photo 1 of 40: denoising", "photo 3 of 40, 2 min left: denoising"]
    alone = PhotoProgress(told)
    alone.start("1", 1, 0, 1)
    assert list(alone.track([1], "denoising")) == [1] and told.loops[-1] == "denoising"
