"""velatura batch: plans as users write them, and pictures that do not depend on what a worker did before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command_line import FAST, run
from tests.conftest import smooth_image
from velatura import Studio
from velatura.app import batch_runner
from velatura.app.batch_command import progress_line
from velatura.app.batch_rows import Asked
from velatura.app.batch_runner import StudioRunner, StudioRunners
from velatura.batch.outcome import FAILED, KEPT, MADE, Outcome
from velatura.batch.place import Place
from velatura.batch.plan_files import crossed, pictures_at, records_of
from velatura.batch.row import Row
from velatura.batch.running import Tally
from velatura.batch.work import Prepared
from velatura.errors import PictureError, SettingError
from velatura.methods.style_fitting import fit_style
from velatura.picture import read_manifest
from velatura.picture.reading import open_picture, upright_size
from velatura.style import StyleLibrary

GUIDED = {"steps": 4, "strength": 0.5, "size": 64, "weights": {"mse": 0.3, "palette": 1.0}}
S2PREST = {"steps": 4, "strength": 0.5, "size": 64}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        smooth_image(64, 64 + 32 * (number == 3), number).save(folder / f"{number}.png")
    return folder


def asked(folder: Path, method: str = "guided", **settings: Any) -> Asked:
    return Asked(method, settings, StyleLibrary(folder / "styles"))


def row_of(record: dict[str, Any], folder: Path) -> Row:
    return next(asked(folder).rows([record], "plan"))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_row_says_what_is_its_own(tmp_path: Path, kind: str) -> None:
    records = [
        {"content": "/a.png", "style": "text:ink"},
        {"content": "/b.png", "style": "/s.png", "steps": 7, "seed": 3},
    ]
    file = tmp_path / f"plan.{kind}"
    if kind == "csv":
        file.write_text("content,style,steps,seed\n/a.png,text:ink,,\n/b.png,/s.png,7,3\n")
    elif kind == "jsonl":
        file.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    else:
        pq.write_table(
            pa.Table.from_pylist(
                records, pa.schema([(n, pa.int64() if n in ("steps", "seed") else pa.string()) for n in records[1]])
            ),
            file,
        )
    first, second = asked(tmp_path, strength=0.3).rows(records_of(str(file)), file.name)
    assert (first.content, first.style, first.settings, first.seed) == ("/a.png", "text:ink", '{"strength": 0.3}', 0)
    assert (second.style, json.loads(second.settings), second.seed) == ("/s.png", {"strength": 0.3, "steps": 7}, 3)
    assert first.group == "/a.png"


def test_rows_of_a_method_with_batches_stand_by_style(tmp_path: Path) -> None:
    record = {"content": "a.png", "style": "/s.png", "method": "s2prest"}
    row = next(asked(tmp_path, strength=0.3).rows([record], "plan"))
    assert row.content == str(Path("a.png").absolute())
    assert row.settings == "{}"  # the options' settings are those of the options' method
    assert "/s.png" in row.group and "a.png" not in row.group


def test_former_names_and_spans_travel(tmp_path: Path) -> None:
    row = row_of({"content": "/a", "style": "/b", "look": "x0"}, tmp_path)
    assert json.loads(row.settings) == {"loss_input": "x0"}


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"style": "a"}, r"^Row 1 of plan: it has no content: each row needs content and style\.$"),
        ({"content": "a", "style": "b", "hue": 1}, "Row 1 of plan: The method guided has no setting 'hue'"),
        ({"content": "a", "style": "b", "steps": "x"}, "Row 1 of plan: the column steps needs a whole number, not 'x'"),
        ({"contnt": "a", "style": "b"}, r"^Row 1 of plan: it has no content: is the column contnt meant\?$"),
        ({"content": "a", "style": "b", "stps": "5"}, r"the column stps is no setting of guided: is steps meant\?$"),
        ({"content": "a", "style": "b", "sed": 5}, r"the column sed is no setting of guided: is seed meant\?$"),
        ({"content": "a", "style": "b", "steps": 0}, "Row 1 of plan: steps must be from 1 to 1000, not 0"),
        ({"content": "a", "style": "b", "method": "magic"}, "Row 1 of plan: Unknown method 'magic'"),
        ({"content": "a", "style": "b", "seed": "x"}, "Row 1 of plan: seed must be a whole number, not 'x'"),
        ({"content": "a", "style": "b", "seed": -1}, "Row 1 of plan: seed must be from 0"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, record: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        row_of(record, tmp_path)


def test_one_control_picture_for_all_rows_is_of_one_photo(tmp_path: Path) -> None:
    given = asked(tmp_path, controlnet="canny-folder", control="depth.png")
    same = [{"content": "a.png", "style": style} for style in ("x.png", "y.png")]
    assert len(list(given.rows(same, "plan"))) == 2
    own = [{**same[0], "control": "a-depth.png"}, {"content": "b.png", "style": "x.png", "control": "b-depth.png"}]
    assert len(list(given.rows(own, "plan"))) == 2
    with pytest.raises(SettingError, match=r"Row 2 of plan: A control picture belongs to one photo.*column 'control'"):
        list(given.rows([same[0], {"content": "b.png", "style": "x.png"}], "plan"))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("plan.txt", "", r"is no plan: give a file that ends in \.csv"),
        ("gone.csv", None, "There is no plan"),
        ("plan.csv", "content,style\na,b,c\n", "line 2 has not as many cells as the first"),
        ("plan.csv", "content,style,seed,seed\n", r"plan\.csv: the column seed is there twice: leave one out\.$"),
        ("plan.csv", "content,style\n", r"plan\.csv has no rows: give it one for each result\.$"),
        ("plan.csv", "", "has no rows"),
        ("plan.csv", b"content,style\n\xe9,b\n", "no text in UTF-8: save it as such"),
        ("plan.jsonl", "\n", "has no rows"),
        ("plan.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("plan.jsonl", '{"content": "a"}\n{"content": \n', r"plan\.jsonl: line 2 is no JSON object: write it as"),
        ("plan.jsonl", "[" * 100_000, "line 1 is no JSON object"),
        ("plan.jsonl", '{"seed": 1, "seed": 2}\n', "line 1: the column seed is there twice"),
        ("plan.parquet", "nothing", r"plan\.parquet: it is no Parquet file, or is damaged: write it again\.$"),
        ("plan.parquet", "", "it is no Parquet file, or is damaged"),
    ],
)
def test_a_bad_plan_is_one_sentence(tmp_path: Path, name: str, text: str | bytes | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingError, match=sentence):
        list(records_of(str(tmp_path / name)))


def test_folders_patterns_and_files_are_pictures_once(pictures: Path) -> None:
    (pictures / "notes.txt").touch()
    assert len(pictures_at([str(pictures), str(pictures / "[01].png")])) == 5
    assert pictures_at([str(pictures / "[01].png")]) == [str(pictures / "0.png"), str(pictures / "1.png")]
    with pytest.raises(PictureError, match="There are no pictures at"):
        pictures_at([str(pictures / "*.webp")])
    with pytest.raises(PictureError, match=r"There are no pictures at .*nofolder: name a folder"):
        pictures_at([str(pictures), str(pictures / "nofolder")])
    pairs = [tuple(record.values()) for record in crossed(["a", "b"], ["x", "y"], styles_first=True)]
    assert pairs == [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")]


def test_sizes_are_found_without_decoding(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        file = tmp_path / f"{orientation}.jpg"
        smooth_image(40, 64).save(file, exif=exif)
        assert upright_size(file.read_bytes(), file) == open_picture(file).size


def runner(tmp_path: Path, model: str, batch: int = 0) -> StudioRunner:
    return StudioRunners(model, "cpu", "fp32", Place(str(tmp_path / "out")), batch=batch)()


def prepared(made_by: StudioRunner, rows: Iterable[Row]) -> list[Prepared]:
    return [made_by.prepare(row, Path(row.content).read_bytes()) for row in rows]


def rows(pictures: Path, contents: str, style: str, method: str, **settings: Any) -> list[Row]:
    return [
        Row(number, str(pictures / f"{name}.png"), str(pictures / f"{style}.png"), method, json.dumps(settings))
        for number, name in enumerate(contents)
    ]


def test_what_a_worker_did_before_does_not_change_a_byte(tmp_path: Path, pictures: Path, model: str) -> None:
    busy, fresh = runner(tmp_path, model), runner(tmp_path / "other", model)
    together = rows(pictures, "012", "4", "s2prest", **S2PREST)
    busy.make(prepared(busy, together[:2]))  # other company, whose inversions have other last bits
    busy.make(prepared(busy, rows(pictures, "0", "1", "guided", **GUIDED)))
    one, other = (each.make(prepared(each, together)) for each in (busy, fresh))
    assert [made.picture for made in one] == [made.picture for made in other]


def test_only_alike_contents_of_one_size_share_a_pass(tmp_path: Path, pictures: Path, model: str) -> None:
    made_by = runner(tmp_path, model, batch=8)
    a, b, wide = prepared(made_by, rows(pictures, "013", "4", "s2prest", **S2PREST))
    assert a.alike == b.alike != wide.alike and a.request != b.request
    assert made_by.most_together(a) == 8
    (guided,) = prepared(made_by, rows(pictures, "0", "4", "guided", **GUIDED))
    assert made_by.most_together(guided) == 1
    (other,) = prepared(made_by, rows(pictures, "0", "4", "guided", **GUIDED | {"steps": 5}))
    assert other.request != guided.request


def test_a_style_is_fitted_once_for_all_workers(
    tmp_path: Path, pictures: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[str] = []

    def counted(*arguments: Any) -> Any:
        fits.append(arguments[2])
        return fit_style(*arguments)

    monkeypatch.setattr(batch_runner, "fit_style", counted)
    one, other = runner(tmp_path, model), runner(tmp_path, model)

    def work(each: StudioRunner, content: str) -> bytes:
        return each.make(prepared(each, rows(pictures, content, "4", "guided", **GUIDED)))[0].picture

    assert work(one, "0") == work(other, "0")
    work(one, "1")
    assert fits == ["4"]


def test_the_command_makes_what_a_studio_makes(
    tmp_path: Path, pictures: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.png").write_text("no picture")
    out, losses = tmp_path / "out", ("--loss", "mse=0.3", "--loss", "palette=1")
    places = ("--contents", pictures / "[01].png", "--contents", tmp_path / "no.png", "--styles", pictures / "4.png")
    command = ("batch", *places, "--out", out, "--model", model, "--workers", 1, "--nice", 0, *losses, *FAST)
    assert run(monkeypatch, *command) == 1
    assert "1 failed: " in capsys.readouterr().err
    made = sorted(out.glob("*.png"))
    assert [path.name[:4] for path in made] == ["0_4_", "1_4_"]
    manifest = read_manifest(made[0])
    assert "seconds" not in manifest and manifest["computed_on"]["threads"] == 1
    settings = {"steps": 4, "strength": 0.5, "size": 64, "weights": manifest["settings"]["weights"]}
    expected = Studio(model, "cpu", "fp32").stylize(pictures / "0.png", pictures / "4.png", **settings)
    assert np.abs(np.asarray(Image.open(made[0]), int) - np.asarray(expected.picture, int)).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Give a plan, or --contents and --styles."),
        (("plan.csv", "--contents", "a"), "Give a plan, or --contents and --styles."),
        (("--engine", "dask"), "--engine must be local or ray, not 'dask'."),
        (("--gpus", "1"), "--address and --gpus are for --engine ray."),
        (("--engine", "ray", "--gpus", "-1"), "gpus must be from 0 to 64, not -1."),
        (("--batch", "300"), "--batch must be from 0 to 256, not 300."),
        (("--contents", "none/", "--styles", "text:ink"), "There are no pictures at none/: name a folder, a file"),
        (("--contents", ".", "--styles", "none"), "There are no pictures at none: name a folder, a file"),
        (("--together", "time"), "--together must be auto or content or style, not 'time'."),
        (("--format", "bmp"), "--format must be one of png, jpg"),
        (("--workers", "-1"), "workers must be from 0 to 1024, not -1."),
        (("plan.xls",), "plan.xls is no plan: give a file that ends in .csv"),
    ],
)
def test_bad_options_are_one_sentence(
    tmp_path: Path,
    arguments: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "batch", *arguments) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("batch"))


def test_time_left_is_that_of_rows_that_were_made() -> None:
    now = 0.0
    tally = Tally(10, clock=lambda: now)
    for number in range(2):
        tally.add(Outcome(number, KEPT))
    assert tally.seconds_left is None
    now = 60.0  # the model was loaded; two rows of one pass come together
    for number in (2, 3):
        tally.add(Outcome(number, MADE, seconds=3.0))
    assert tally.seconds_left == 3.0 * 6
    now = 66.0
    tally.add(Outcome(4, MADE, seconds=6.0))
    tally.add(Outcome(5, FAILED, error="why"))
    assert tally.seconds_left == (6.0 + 6.0) / 4 * 4
    assert progress_line(Tally(3)) == "0 of 3 rows"
