"""Inputs have bounds: files, masks, numbers and memory; and whatever goes wrong is one sentence."""

from __future__ import annotations

import base64
import math
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.command_line import run
from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.app import mask_command
from velatura.app.studio import Studio
from velatura.errors import ModelError, PictureError, SettingError, StyleError
from velatura.methods import memory
from velatura.methods.base import Method, RunResult, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.fitting import style_weights
from velatura.methods.s2prest.embeddings_file import read_published_embeddings
from velatura.methods.validation import Choices, Range, setting_specs
from velatura.models.loading.single_file import read_state_dict
from velatura.picture import Picture, open_picture
from velatura.regions import Region, parse_query
from velatura.registry import NAMES, method_class
from velatura.style import Style

HEIC = base64.b64decode(  # 64 x 48 pixels, blue on the left and red on the right
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA"
    "AERAAAEAAQAAAAABoQABAAAAAAAAAHoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADd"
    "aXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAA"
    "AwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAIJtZGF0AAAA"
    "digBrwngOSMkv//7od/e/zqt//5x7nBOP4aLv/+J8Q3/uKD1FdlXNmEjp2q4xlroP0DyxKkdxYtGnE+qjB2Fymd6A2tVCtCh+LhAM1KeD10M3+b8"
    "Fs/ZnBWAg24g/HpZifAwN2v4umnNLwDXqz0O8kABHs1xp8A="
)


# Pictures


def test_a_phones_picture_opens(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    picture = open_picture(tmp_path / "a.heic")
    left, right = (np.asarray(picture.image)[24, x].astype(int) for x in (8, 56))
    assert picture.size == (64, 48) and left[2] > left[0] + 100 and right[0] > right[2] + 100


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in ((Path("/dev/zero"), "a device"), (tmp_path / "pipe.png", "a pipe"), (tmp_path, "a folder")):
        with pytest.raises(PictureError, match=f"is {reason}"):
            open_picture(path)
    with pytest.raises(PictureError, match="name of a picture is empty"):
        open_picture("")
    with pytest.raises(PictureError, match="cannot be read"):
        open_picture("a\0b.png")
    with pytest.raises(PictureError, match=r"no file|cannot be read"):
        open_picture("a" * 300 + ".png")


def test_a_file_is_read_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("velatura.picture.reading.MAX_BYTES", 2**20)
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no place, but would fill the memory
    with pytest.raises(PictureError, match="larger than 1 MiB"):
        open_picture(tmp_path / "long.png")


def test_the_limit_of_pixels_is_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth_image(40, 40).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert open_picture(tmp_path / "a.png").size == (40, 40)
    with pytest.raises(PictureError, match="40 x 40 pixels, over the limit of 1,500"):
        open_picture(tmp_path / "a.png", 1500)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PictureError, match="more than 1,500 pixels, the limit"):
        open_picture(tmp_path / "a.png", 1500)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 2.0), (-3.0, 5.0), (0.0, 255.0), (0.0, 65535.0)])
def test_floating_pictures_keep_their_tones(tmp_path: Path, low: float, high: float) -> None:
    values = np.linspace(low, high, 4096, dtype=np.float32).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    opened = np.asarray(open_picture(tmp_path / "a.tiff").image)[..., 0].astype(int)
    assert np.abs(opened - np.linspace(0, 255, 4096).reshape(64, 64)).max() <= 1


@pytest.mark.parametrize("stray", [1.0001, 1e4, math.inf, -math.inf, math.nan])
def test_a_stray_value_changes_no_other_pixel(tmp_path: Path, stray: float) -> None:
    values = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    values[0, 0] = stray
    Image.fromarray(values).save(tmp_path / "a.tiff")
    opened = np.asarray(open_picture(tmp_path / "a.tiff").image)[..., 0].astype(int)
    assert np.abs(opened - np.linspace(0, 255, 4096).reshape(64, 64))[1:].max() <= 1


def test_a_picture_without_any_number_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), math.nan, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(PictureError, match="no pixel is a finite number"):
        open_picture(tmp_path / "a.tiff")


# Masks


@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_a_mask_drawn_as_transparency_counts_by_its_alpha(tmp_path: Path, colour: str) -> None:
    drawn = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    ImageDraw.Draw(drawn).rectangle((0, 0, 31, 63), fill=colour)
    drawn.save(tmp_path / "mask.png")
    mask = parse_query(str(tmp_path / "mask.png"))(Picture.of(smooth_image()))
    assert (mask[:, :32] == 1).all() and (mask[:, 32:] == 0).all()
    weights = style_weights(open_picture(tmp_path / "mask.png"))
    assert (weights[..., :32] == 1).all() and (weights[..., 32:] == 0).all()


def test_a_photo_is_no_mask(tmp_path: Path) -> None:
    smooth_image().save(tmp_path / "photo.jpg")
    with pytest.raises(PictureError, match=r"photo is a photo in colour, not a mask: give a gray picture"):
        parse_query(str(tmp_path / "photo.jpg"))(Picture.of(smooth_image()))
    with pytest.raises(PictureError, match="not a mask"):
        style_weights(open_picture(tmp_path / "photo.jpg"))
    smooth_image().convert("L").convert("RGB").save(tmp_path / "gray.jpg", quality=40)
    assert parse_query(str(tmp_path / "gray.jpg"))(Picture.of(smooth_image())).std() > 0


@pytest.mark.parametrize(
    "query", ["segment:nan", "segment:1.5", "point:inf,3", "polygon:0,0;nan,1;2,2", "box:0,0,1e9,1"]
)
def test_coordinates_are_finite(query: str) -> None:
    with pytest.raises(SettingError, match=r"needs \d numbers|whole numbers"):
        parse_query(query)


# Archives


def test_an_archive_that_unfolds_without_bound_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "embeddings.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data/0", "w") as member:
        for _ in range(100):
            member.write(bytes(2**20))
    assert bomb.stat().st_size < 2**18
    with pytest.raises(ModelError, match=r"would unfold to 100 MB"):
        read_published_embeddings(bomb)
    with pytest.raises(ModelError, match=r"would unfold to 100 MB"):
        read_state_dict(bomb)


def test_what_torch_saves_is_no_bomb(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(1000)}}, tmp_path / "a.ckpt")
    assert read_state_dict(tmp_path / "a.ckpt")["weight"].shape == (1000,)
    with pytest.raises(ModelError, match="no file"):
        read_state_dict(Path("/dev/zero"))


# Numbers


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_every_method_has_a_range_and_every_setting_a_meaning(name: str) -> None:
    cls = method_class(name)
    specs = setting_specs(cls)
    assert sorted(spec.name for spec in specs) == sorted(field.name for field in fields(cls))
    for spec in specs:
        assert spec.meaning, spec.name
        if spec.kind in ("number", "whole number"):
            assert isinstance(spec.allowed, Range) and spec.allowed.contains(spec.default), spec.name
            outside = {math.nan, math.inf, -math.inf, -2, spec.allowed.high * 2 + 1, 10**400}
            for value in (*outside, *([] if spec.kind == "number" else [1.5]), "3", None, True):
                with pytest.raises(SettingError, match=f"^{spec.name} must be ") as caught:
                    cls(**{spec.name: value})
                assert "\n" not in str(caught.value)
        elif isinstance(spec.allowed, Choices):
            last = re.escape(spec.allowed.values[-1])
            with pytest.raises(SettingError, match=f"^{spec.name} must be .*{last}, not 'x'"):
                cls(**{spec.name: "x"})


@pytest.mark.parametrize("name", NAMES)
def test_presets_lie_in_the_ranges(name: str) -> None:
    for preset in method_class(name).presets.values():
        method_class(name)(**preset)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, 1e9])
def test_the_weights_of_losses_are_bounded(weight: float) -> None:
    with pytest.raises(SettingError, match=r"weight of the loss 'mse' must be from 0 to 1,000,000"):
        method_class("guided")(weights={"mse": weight})  # type: ignore[call-arg]


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
def test_the_seed_is_bounded_before_a_model_is_loaded(seed: Any) -> None:
    studio = Studio("no-such-model")
    with pytest.raises(SettingError, match="seed must be"):
        studio.stylize(smooth_image(), "text:ink", seed)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="seed must be"):
        studio.stylize_regions(smooth_image(), [], seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seed", -1), "seed must be from 0 to 9223372036854775807, not -1"),
        (("--seed", 2**63), "seed must be"),
        (("--steps", 0), "steps must be from 1 to 1000, not 0"),
        (("--size", 10**9), "size must be 0 or from 64 to 4096"),
        (("--strength", "nan"), "strength must be from 0 to 1, not nan"),
        (("--set", "gradient_steps=1000000"), "gradient_steps must be from 1 to 100"),
        (("--set", "guidance_rms=inf"), "guidance_rms must be from 0 to 100"),
        (("--loss", "mse=nan"), "weight of the loss 'mse'"),
    ],
)
def test_numbers_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: Sequence[object],
    sentence: str,
) -> None:
    smooth_image().save(tmp_path / "a.png")
    photo, out = tmp_path / "a.png", tmp_path / "out.png"
    code = run(monkeypatch, "stylize", photo, "--style", photo, "--model", "no-such", "--out", out, *arguments)
    shown = capsys.readouterr().err
    assert code == 2 and sentence in shown and shown.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize("option", [("--grow", 100_000), ("--feather", "nan"), ("--segment", 0), ("--segment", -3)])
def test_numbers_of_a_mask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: Sequence[object]
) -> None:
    smooth_image().save(tmp_path / "a.png")
    query = () if option[0] == "--segment" else ("--polygon", "0,0;9,0;9,9")
    assert run(monkeypatch, "mask", tmp_path / "a.png", *query, *option, "--out", tmp_path / "m.png") == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "m.png").exists()


# Memory and results


def test_a_size_without_memory_is_refused_with_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 300 * 512 * 512)
    memory.check_memory((512, 512), 300, tiny_house())
    with pytest.raises(SettingError, match=r"2048 x 1024 needs about 0.6 GiB .* free: give --size 36\d or less"):
        memory.check_memory((2048, 1024), 300, tiny_house())
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    with pytest.raises(SettingError, match="close other programs"):
        Broken().stylize([Picture.of(smooth_image())], REGIONS, RunContext(tiny_house()))


@dataclass(frozen=True)
class Broken(Method):
    """A method whose result holds one value that is not finite."""

    name: ClassVar[str] = "broken"
    style_method: ClassVar[str] = "broken"
    value: float = math.nan
    guidance_scale: float = 7.0

    def __post_init__(self) -> None:
        """No range is declared."""

    def fit(self, *_: Any, **__: Any) -> Style:
        return Style("s", "broken", "", "", {}, {})

    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[Any]) -> list[RunResult]:
        pixels = contents[0].pixels()
        pixels[0, 0, 0, 0] = self.value
        return [RunResult(pixels)]


REGIONS = [Region(Style("s", "broken", "", "", {}, {}))]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_not_finite_is_not_kept(value: float) -> None:
    with pytest.raises(SettingError, match=r"not finite and was not kept: lower guidance_scale, or use --dtype fp32"):
        Broken(value).stylize([Picture.of(smooth_image())], REGIONS, RunContext(tiny_house()))
    (result,) = Broken(0.5).stylize([Picture.of(smooth_image())], REGIONS, RunContext(tiny_house()))
    assert result.picture.size == (64, 64)


# Sentences


@pytest.mark.parametrize("name", ["[/x].jpg", "[bold].jpg", "a[fastsam].jpg", ":smile:.jpg"])
def test_sentences_are_printed_literally(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(monkeypatch, "mask", name, "--everything") == 2
    assert capsys.readouterr().err == f"There is no file {name}: check the name.\n"


def failing(error: BaseException) -> Any:
    def command(*_: Any, **__: Any) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StyleError("install it with pip install 'velatura[fastsam]'"), "pip install 'velatura[fastsam]'"),
        (PermissionError(13, "Permission denied", "/x/[y].png"), "/x/[y].png cannot be used (Permission denied)"),
        (FileExistsError(17, "File exists", "/x/y"), "/x/y is a file, and a folder is needed: give another name."),
        (OSError("no space"), "OSError: no space"),
        (RecursionError("too deep\nand more"), "RecursionError: too deep)"),
        (MemoryError(), "give a smaller --size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "give a smaller --size"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "--debug shows where"),
    ],
)
def test_whatever_is_raised_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    monkeypatch.setattr(mask_command.MaskOptions, "queries", failing(error))
    assert run(monkeypatch, "mask", "a.png") == 2
    shown = capsys.readouterr().err
    assert sentence in shown and shown.count("\n") == 1
    for arguments in (("--debug", "mask", "a.png"), ("mask", "a.png", "--debug")):
        with pytest.raises(type(error)):
            run(monkeypatch, *arguments)


def test_a_damaged_file_of_tensors_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    (tmp_path / "a.safetensors").write_bytes(b"12345678 no tensors")
    monkeypatch.setattr(mask_command.MaskOptions, "queries", lambda _: load_file(tmp_path / "a.safetensors"))
    assert run(monkeypatch, "mask", "a.png") == 2
    assert "A file of tensors is damaged" in capsys.readouterr().err


def test_an_interruption_says_that_it_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mask_command.MaskOptions, "queries", failing(KeyboardInterrupt()))
    assert run(monkeypatch, "mask", "a.png") == 130
    assert capsys.readouterr().err.startswith("Stopped; nothing was left half-written.")


@pytest.mark.parametrize("arguments", [("mask", ""), ("stylize", "", "--style", "a.png"), ("fit", "a.png", "--name=")])
def test_an_empty_name_is_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "An argument is empty" in capsys.readouterr().err


def test_a_closed_pipe_does_not_stop_the_work(tmp_path: Path) -> None:
    smooth_image().save(tmp_path / "a.png")
    readable, writable = os.pipe()
    os.close(readable)  # whoever read has gone
    command = [sys.executable, "-m", "velatura.app.cli", "mask", "a.png", "--polygon", "0,0;9,0;9,9", "--out", "m.png"]
    try:
        done = subprocess.run(command, cwd=tmp_path, stdout=writable, stderr=writable, check=False)
    finally:
        os.close(writable)
    assert done.returncode == 0 and (tmp_path / "m.png").exists()
