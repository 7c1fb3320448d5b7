"""Hundreds of seeded command lines over odd files: no traceback, no lost input, nothing half-written.

The model is the tiny one of the tests, so that a command takes a tenth of a second; everything else is the program.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_house import tiny_house
from velatura.app import studio
from velatura.app.cli import app

COMMANDS = 500
PICTURES = (".png", ".jpg", ".webp", ".tif", ".tiff", ".avif", ".jpeg")
# How the program begins the sentence about an error that it did not foresee.
UNFORESEEN = "The command could not be done"
NUMBERS = ("0", "1", "0.5", "-1", "nan", "inf", "1e99", "two", "", "9" * 30, "0.0000001", "-0")
TEXTS = ("", "[/red]", "../../x", "a" * 300, "übung", "x\ty", "--help", "*", "a=b=c", "%s", "NUL", ".", "..")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of odd files."""
    folder = tmp_path_factory.mktemp("corpus")
    image = smooth_image(64, 72, 1)
    for name in ("photo.png", "photo.jpg", "[x].png", "ein bild.webp", "photo (1).tiff", "same.PNG", "SAME.jpg"):
        image.save(folder / name)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("P").save(folder / "palette.png")
    image.convert("L").save(folder / "gray.png")
    image.convert("RGBA").save(folder / "alpha.png")
    Image.new("RGBA", (64, 64), (255, 255, 255, 0)).save(folder / "transparent.png")
    Image.fromarray((np.asarray(image.convert("L"), np.uint16) * 257).astype(np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.asarray(image.convert("L"), np.float32) / 100).save(folder / "float.tiff")
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(folder / "nan.tiff")
    smooth_image(1, 1, 1).save(folder / "dot.png")
    smooth_image(1, 400, 1).save(folder / "line.png")
    Image.new("L", (64, 64)).save(folder / "black.png")
    mask = Image.new("L", (72, 64))
    mask.paste(255, (0, 0, 36, 64))
    mask.save(folder / "mask.png")
    whole = (folder / "photo.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "bomb.png").write_bytes(whole[:16] + b"\x00\x01\x86\xa0" * 2 + whole[24:])
    (folder / "style.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    (folder / "pickle.pt").write_bytes(b"\x80\x04cos\nsystem\n.")
    save_file({"a": smooth_pixels()}, folder / "tensor.safetensors")
    (folder / "folder.png").mkdir()
    (folder / "photos").mkdir()
    image.save(folder / "photos" / "one.png")
    (folder / "photos" / "two.png").write_text("no picture")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "link.png").symlink_to(folder / "photo.png")
    return folder


def regular_files(folder: Path) -> dict[Path, bytes]:
    """The contents of the regular files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path: path.read_bytes() for path in found}


class Fuzzer:
    """Draws command lines over a corpus, with results under ``out``."""

    def __init__(self, corpus: Path, out: Path, seed: int) -> None:
        self.chance, self.out = random.Random(seed), out
        self.files = [*sorted(str(path) for path in corpus.iterdir()), str(corpus / "missing.png"), str(corpus)]
        self.good = [str(corpus / name) for name in ("photo.png", "photo.jpg", "[x].png", "gray.png", "alpha.png")]

    def picture(self) -> str:
        return self.chance.choice(self.good if self.chance.random() < 0.8 else self.files)

    def target(self, *endings: str) -> str:
        name = self.chance.choice(("x", "X", "a/b", "y" * 300, "[b]", "deep/er/and"))
        wild = [self.picture(), "/proc/x.png", str(self.out), *TEXTS]
        return (
            self.chance.choice(wild)
            if self.chance.random() < 0.3
            else str(self.out / name) + self.chance.choice(endings)
        )

    def value(self) -> str:
        return self.chance.choice(NUMBERS + TEXTS)

    def some(self, *options: Callable[[], list[str]]) -> list[str]:
        return [part for option in options if self.chance.random() < 0.1 for part in option()]

    def style(self) -> str:
        return self.picture() if self.chance.random() < 0.8 else self.chance.choice(("kept", "text:a sketch", *TEXTS))

    def stylize(self) -> list[str]:
        contents = [self.picture() for _ in range(self.chance.randint(1, 2))]
        styled = ["--style", self.style()] if self.chance.random() < 0.7 else ["--region", self.region()]
        method = self.chance.choice((*["guided", "styleid"] * 3, "s2prest", "diffstyler", "zecon-original", "magic"))
        sized = ["--size", self.chance.choice((*["64"] * 7, self.value()))]
        quick = ["--steps", self.chance.choice((*["1"] * 7, self.value()))]
        quick += ["--set", "fit_steps=1"] if method in ("s2prest", "diffstyler") else []
        return [
            *("stylize", *contents, *styled, "--out", self.target(*PICTURES[:3]), "--method", method, *sized, *quick),
            *self.some(
                lambda: ["--strength", self.value()],
                lambda: ["--seed", self.value()],
                lambda: [
                    "--set",
                    f"{self.chance.choice(('corrections', 'eta', 'feather', 'nope', ''))}={self.value()}",
                ],
                lambda: ["--loss", f"{self.chance.choice(('mse', 'texture', 'nope'))}={self.value()}"],
                lambda: [self.chance.choice(("--force", "--resume", "--recursive", "--sidecar"))],
            ),
        ]

    def region(self) -> str:
        places = (
            self.picture(),
            "box:1,2,30,40",
            "box:9,9,1,1",
            "point:5,5",
            "polygon:0,0;9,0;9,9",
            "segment:1",
            "text:x",
        )
        where = self.chance.choice((*places, *TEXTS))
        return f"{where}={self.style()}" + self.chance.choice(("", "*0.5", "@0-0.5", "@1-0", "*nan"))

    def mask(self) -> list[str]:
        parts = (
            ("--box", "1,1,40,40"),
            ("--point", "9,9"),
            ("--polygon", "0,0;9,0;9,9"),
            ("--picture", self.picture()),
        )
        asked = self.chance.choice((*parts, ("--box", self.value()), ("--point", self.value()), ("--everything",)))
        numbers = self.some(lambda: ["--grow", self.value()], lambda: ["--feather", self.value()], lambda: ["--force"])
        return ["mask", self.picture(), *asked, *numbers, "--out", self.target(".png")]

    def library(self) -> list[str]:
        name = self.chance.choice(("kept", "none", *TEXTS))
        return self.chance.choice(
            (
                ["styles", "list"],
                ["styles", "show", name],
                ["styles", "remove", name],
                ["styles", "export", name, "--out", self.target(".safetensors")],
                ["styles", "import", self.chance.choice(self.files), "--name", name],
                ["fit", self.picture(), "--name", name, *self.some(lambda: ["--force"])],
                ["models", "convert", self.chance.choice(self.files), "--out", str(self.out / "adm")],
                ["settings", self.chance.choice(("guided", "magic"))],
            )
        )

    def command(self) -> list[str]:
        return self.chance.choice((self.stylize, self.stylize, self.mask, self.library))()


def test_no_command_line_ends_in_a_traceback_or_loses_a_file(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio, "load_backbone", lambda *asked: tiny_house())
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    fuzzer, before = Fuzzer(corpus, out, seed=17), regular_files(corpus)
    ends: dict[int, int] = {}
    for number in range(COMMANDS):
        command = fuzzer.command()
        result = CliRunner().invoke(app, command)
        told = f"{number}: {command}\n{result.output[-600:]}"
        assert result.exception is None or isinstance(result.exception, SystemExit), told
        assert UNFORESEEN not in result.output, told
        assert result.exit_code in (0, 1, 2), told
        ends[result.exit_code] = ends.get(result.exit_code, 0) + 1
        if "--force" not in command:
            assert {path: path.read_bytes() for path in before if path.exists()} == before, told
    left = [path for path in tmp_path.rglob(".*") if path.is_file()]
    assert left == []
    written = [path for path in out.rglob("*") if path.is_file() and path.suffix in PICTURES]
    for path in written:
        with Image.open(path) as image:
            image.load()
    # Both kinds of ends are many: the fuzz is neither all nonsense nor all sense.
    assert ends[0] > 100
    assert ends[2] > 150
    assert len(written) > 30
