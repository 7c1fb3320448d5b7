"""The command line: what it makes, and the one sentence it says when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.command_line import FAST, run
from tests.conftest import smooth_image
from velatura.app.files import ContentFile, Naming, content_files
from velatura.app.options import parse_settings, parse_strength_option
from velatura.errors import PictureError, SettingError
from velatura.methods.guided.settings import DEFAULT_WEIGHTS
from velatura.picture import open_picture, read_manifest


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    smooth_image(72, 96, 0).save(folder / "a.jpg")
    smooth_image(96, 72, 1).save(folder / "b.png")
    smooth_image(64, 64, 2).save(tmp_path / "style.png")
    return folder


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, velatura.app.cli as c; assert not {'torch', 'diffusers', 'kornia'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_photo_becomes_one_picture_with_its_manifest(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out.png"
    call = [
        "stylize",
        pictures / "a.jpg",
        "--style",
        tmp_path / "style.png",
        "--out",
        out,
        "--model",
        model,
        "--sidecar",
    ]
    assert run(monkeypatch, *call, *FAST, "--loss", "gram=2", "--set", "guidance_scale=1.5", "--seed", 5) == 0
    assert open_picture(out).size == (96, 72)
    manifest = read_manifest(out)
    assert manifest["seed"] == 5 and manifest["settings"]["weights"]["gram"] == 2
    assert manifest["settings"]["guidance_scale"] == 1.5
    assert json.loads((tmp_path / "new" / "out.png.json").read_text()) == manifest


def test_a_folder_becomes_a_folder_and_a_fitted_style_is_used_by_name(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--model", model, "--device", "cpu", "--dtype", "fp32"]
    assert run(monkeypatch, "fit", tmp_path / "style.png", "--name", "waves", "--set", "size=64", *where) == 0
    assert run(monkeypatch, "fit", tmp_path / "style.png", "--name", "waves", *where) == 2
    out = tmp_path / "results"
    assert run(monkeypatch, "stylize", pictures, "--style", "waves", "--out", out, "--model", model, *FAST) == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.png"]
    capsys.readouterr()
    assert run(monkeypatch, "styles", "show", "waves") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["method"] == "guided" and card["tensors"]["word"] == [1, 1, 32]
    assert run(monkeypatch, "styles", "export", "waves", "--out", tmp_path / "w.safetensors") == 0
    assert run(monkeypatch, "styles", "import", tmp_path / "w.safetensors", "--name", "sea") == 0
    assert run(monkeypatch, "styles", "remove", "waves") == 0
    capsys.readouterr()
    assert run(monkeypatch, "styles", "list") == 0
    listed = capsys.readouterr().out
    assert "sea" in listed and "waves" not in listed


def test_the_result_does_not_depend_on_the_order_of_contents(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path
) -> None:
    for out, files in (("x", ["a.jpg", "b.png"]), ("y", ["b.png", "a.jpg"])):
        call = ["stylize", *(pictures / f for f in files), "--style", tmp_path / "style.png", "--out", tmp_path / out]
        assert run(monkeypatch, *call, "--model", model, *FAST, "--set", "start=noise") == 0
    first, second = (np.asarray(Image.open(tmp_path / out / "a.png")) for out in ("x", "y"))
    assert np.array_equal(first, second)


BAD = {
    "no such content": (["stylize", "none.jpg", "--style", "style.png"], "no file none.jpg"),
    "no such style picture": (["stylize", "pictures/a.jpg", "--style", "none.png"], "no file none.png"),
    "no such style": (["stylize", "pictures/a.jpg", "--style", "mist"], "no style 'mist'"),
    "not a picture": (["stylize", "text.jpg", "--style", "style.png"], "not a picture"),
    "empty folder": (["stylize", "empty", "--style", "style.png"], "holds no pictures"),
    "two into one": (["stylize", "pictures", "--style", "style.png", "--out", "o.png"], "name a folder"),
    "over the content": (
        ["stylize", "pictures/a.jpg", "--style", "style.png", "--out", "pictures/a.jpg"],
        "would be lost",
    ),
    "unknown ending": (["stylize", "pictures/a.jpg", "--style", "style.png", "--out", "o.xyz"], "picture ending"),
    "unknown method": (["stylize", "pictures/a.jpg", "--style", "style.png", "--method", "x"], "Unknown method"),
    "unknown loss": (["stylize", "pictures/a.jpg", "--style", "style.png", "--loss", "joy=1"], "Unknown loss"),
    "no number": (["stylize", "pictures/a.jpg", "--style", "style.png", "--loss", "gram=x"], "needs a number, not 'x'"),
    "unknown setting": (["stylize", "pictures/a.jpg", "--style", "style.png", "--set", "joy=1"], "no setting 'joy'"),
    "no equals": (["stylize", "pictures/a.jpg", "--style", "style.png", "--set", "joy"], "NAME=VALUE"),
    "strength": (["stylize", "pictures/a.jpg", "--style", "style.png", "--strength", "2"], "from 0 to 1"),
    "tiny size": (["stylize", "pictures/a.jpg", "--style", "style.png", "--size", "8"], "size must be 0 or from 64"),
    "no such model": (["stylize", "pictures/a.jpg", "--style", "style.png", "--model", "x"], "no model 'x'"),
    "no such device": (["stylize", "pictures/a.jpg", "--style", "style.png", "--device", "x"], "not available"),
    "bad style name": (["fit", "style.png", "--name", "../x"], "cannot be a style's name"),
    "import damage": (["styles", "import", "text.jpg"], "damaged"),
    "remove nothing": (["styles", "remove", "mist"], "no style 'mist'"),
    "nothing to pack": (["train-house", "pack"], "--photos and --paintings"),
    "nothing to train on": (["train-house", "--out", "empty"], "no shards"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_two(
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    pictures: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, sentence = BAD[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    before = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    if arguments[0] == "stylize" and "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said and "Traceback" not in said
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == before


def test_models_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "models") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("house", "sd14", "sd15", "sd21", "sdxl", "hed-vgg16"))


def test_results_are_named_after_their_contents(tmp_path: Path) -> None:
    files = [ContentFile(Path(path)) for path in ("x/a.jpg", "y/c.png", "b.png")]
    names = [target.file.name for target in Naming(tmp_path / "out").wishes(files, ["s"], [0.5]).values()]
    assert names == ["a.png", "c.png", "b.png"]
    paper = list(Naming(None, "paper", "canny").wishes(files[2:], ["../dusk"], [0.2, 0.4]).values())
    assert [target.file for target in paper] == [Path(f"results/_dusk/wt_{s}/stylized/b.png") for s in (0.2, 0.4)]
    assert paper[0].edges == Path("results/_dusk/wt_0.2/canny/b.png")
    with pytest.raises(PictureError):
        content_files([tmp_path])


def test_settings_take_the_type_of_their_default() -> None:
    method, settings = parse_settings("guided", ["steps=7", "guidance_rms=1", "start=noise"], ["gram=2"])
    assert method == "guided" and settings == {
        "steps": 7,
        "guidance_rms": 1.0,
        "start": "noise",
        "weights": {**DEFAULT_WEIGHTS, "gram": 2.0},
    }
    with pytest.raises(SettingError, match="--set steps needs a whole number, not 'many'"):
        parse_settings("guided", ["steps=many"], None)


def test_an_interruption_leaves_nothing_half_written(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("velatura.methods.guided.method.start_latents", interrupted)
    out = tmp_path / "results"
    call = ["stylize", pictures / "a.jpg", "--style", tmp_path / "style.png", "--out", out / "a.png", "--model", model]
    assert run(monkeypatch, *call, *FAST) == 130
    assert not out.exists()


FIT = ["--set", "fit_steps=2", "--set", "fit_size=64", "--device", "cpu", "--dtype", "fp32"]


def test_s2prest_sweeps_strengths_in_the_papers_layout(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    smooth_image(64, 64, 4).convert("L").save(tmp_path / "mask.png")
    fast = ["--set", "fit_views=2", "--set", "fit_batch=1"]
    call = ["fit", "style.png", "--method", "s2prest", "--name", "dusk", "--style-mask", "mask.png", "--model", model]
    assert run(monkeypatch, *call, *FIT, *fast) == 0
    call = ["stylize", "pictures", "--method", "s2prest", "--style", "dusk", "--model", model, *FAST]
    assert run(monkeypatch, *call, "--strength", "0.25,0.5") == 0
    made = sorted(str(path.relative_to(tmp_path / "results")) for path in (tmp_path / "results").rglob("*.png"))
    assert made == [
        f"dusk/wt_{s}/{kind}/{name}.png" for s in (0.25, 0.5) for kind in ("canny", "stylized") for name in "ab"
    ]
    assert read_manifest(tmp_path / "results/dusk/wt_0.25/stylized/a.png")["settings"]["strength"] == 0.25
    flat = ["stylize", "pictures/a.jpg", "--method", "inst", "--style", "dusk", "--out", "o.png", "--model", model]
    assert run(monkeypatch, *flat, *FAST) == 0 and (tmp_path / "o.png").is_file()
    export = ["styles", "export", "dusk", "--format", "textual-inversion", "--out", "word.safetensors"]
    assert run(monkeypatch, *export) == 0 and (tmp_path / "word.safetensors").is_file()
    assert run(monkeypatch, "styles", "export", "dusk", "--format", "lora", "--out", "x.safetensors") == 2


def test_masks_and_regions_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "mask", "pictures/b.png", "--box", "10,10,60,60", "--feather", "2", "--out", "m.png") == 0
    assert open_picture("m.png").size == open_picture("pictures/b.png").size
    assert run(monkeypatch, "mask", "pictures/b.png", "--point", "30,30", "--point", "40,30", "--out", "n.png") == 0
    assert run(monkeypatch, "mask", "pictures/b.png") == 2
    assert run(monkeypatch, "mask", "pictures/b.png", "--box", "1,2,3", "--out", "x.png") == 2
    fit = ["fit", "style.png", "--method", "diffstyler", "--name", "glow", "--model", model, *FIT]
    assert run(monkeypatch, *fit) == 0
    stylize = ["stylize", "pictures/b.png", "--method", "diffstyler", "--model", model, *FAST, "--out", "out.png"]
    assert run(monkeypatch, *stylize, "--region", "m.png=glow", "--region", "box:0,0,30,30=glow") == 0
    assert len(read_manifest(tmp_path / "out.png")["regions"]) == 2
    assert run(monkeypatch, *stylize, "--style", "glow", "--region", "m.png=glow") == 2
    assert run(monkeypatch, "styles", "export", "glow", "--format", "lora", "--out", "lora.safetensors") == 0
    export = ["styles", "export", "glow", "--format", "textual-inversion", "--out", "word.safetensors"]
    assert run(monkeypatch, *export) == 0 and list(load_file("word.safetensors")) == ["<glow>"]
    assert (
        run(monkeypatch, "styles", "import", "lora.safetensors", "--lora", "painting of <sss>", "--name", "back") == 0
    )
    assert run(monkeypatch, *stylize, "--style", "back") == 0
    assert run(monkeypatch, "styles", "export", "back", "--format", "textual-inversion", "--out", "no.safetensors") == 2


def test_guided_takes_presets_spans_regions_and_says_what_words_need(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style, out, photo = tmp_path / "style.png", tmp_path / "out.png", pictures / "a.jpg"
    common = ["--out", out, "--model", model, *FAST]
    called = ["stylize", photo, "--style", style, "--loss", "tv=0.1@0.5-1", *common]
    assert run(monkeypatch, *called) == 0
    manifest = read_manifest(out)
    assert (
        manifest["settings"]["spans"] == {"tv": {"start": 0.5, "end": 1.0}}
        and manifest["settings"]["weights"]["tv"] == 0.1
    )
    assert (
        run(monkeypatch, "stylize", photo, "--region", f"polygon:0,0;48,0;48,72;0,72={style}", "--force", *common) == 0
    )
    made, photo_pixels = (np.asarray(open_picture(path).image).astype(int) for path in (out, photo))
    assert np.array_equal(made[:, 50:], photo_pixels[:, 50:]) and not np.array_equal(made, photo_pixels)
    assert run(monkeypatch, "stylize", photo, "--style", "text:a sketch", "--force", *common) == 0
    assert read_manifest(out)["losses_off"] == ["palette", "texture"]
    sentences = {
        "The CLIP losses cannot compare a picture": ["--style", "text:a sketch", "--preset", "zecon"],
        "style in words is for --method guided": ["--style", "text:a sketch", "--method", "s2prest"],
        "Unknown preset 'none'": ["--style", style, "--preset", "none"],
        "has no presets": ["--style", style, "--preset", "poster", "--method", "s2prest-original"],
        "must lie in 0-1 and rise": ["--style", style, "--loss", "gram=1@0.9-0.2"],
        "has no setting 'size'": ["--style", style, "--preset", "zecon-original"],
    }
    for sentence, wrong in sentences.items():
        out.unlink(missing_ok=True)
        assert run(monkeypatch, "stylize", photo, *wrong, *common) == 2, sentence
        assert sentence in " ".join(capsys.readouterr().err.split()) and not out.exists()
    sentences = {
        "needs an ADM": ["--preset", "zecon-original"],
        "ZeCon has no loss texture": ["--set", "compat=original", "--loss", "texture=1"],
    }
    for sentence, wrong in sentences.items():
        call = ["stylize", photo, "--style", style, *wrong, "--out", out, "--model", model, "--steps", "4"]
        assert run(monkeypatch, *call) == 2
        assert sentence in " ".join(capsys.readouterr().err.split()) and not out.exists()


def test_auto_stands_alone_among_strengths() -> None:
    assert parse_strength_option(" auto ") == ["auto"] and parse_strength_option("0.2,0.4") == [0.2, 0.4]
    with pytest.raises(SettingError, match=r"--strength auto,0\.4 mixes auto with others: give auto alone"):
        parse_strength_option("auto,0.4")


def test_the_package_runs_as_a_module() -> None:
    shown = subprocess.run([sys.executable, "-m", "velatura", "--help"], capture_output=True, text=True, check=True)
    assert "stylize" in shown.stdout
