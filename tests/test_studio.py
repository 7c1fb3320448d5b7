"""The Studio from Python: what may be a picture, a model, a method; previews and stopping."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import velatura
from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_house import tiny_house
from velatura import Studio
from velatura.app import pictures
from velatura.app.pictures import as_picture
from velatura.errors import PictureError, StoppedError
from velatura.methods.guided import Guided
from velatura.picture import read_manifest

QUICK = Guided(steps=4, strength=0.5, size=64, weights={"mse": 0.3, "palette": 1.0})


@pytest.fixture
def studio() -> Studio:
    """A Studio over the tiny model's own pipeline."""
    return Studio(tiny_house().pipeline)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_every_kind_of_picture_is_the_same_picture(tmp_path: Path) -> None:
    image = smooth_image(64, 80, 1)
    image.save(tmp_path / "photo.png")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 127.5 - 1
    kinds: list[Any] = [
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        png(image),
        image,
        array,
        array / 255,
        tensor,
        tensor[None],
        as_picture(image),
    ]
    for kind in kinds:
        assert np.array_equal(np.asarray(as_picture(kind).image), array), type(kind)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (3, "A int is no picture"),
        (np.zeros((4, 4, 2), np.uint8), r"array of shape \(4, 4, 2\)"),
        (np.zeros((4, 4), np.int32), "int32 is no picture"),
        (np.full((4, 4), np.nan), "not finite"),
        (torch.zeros(2, 3, 4, 4), r"tensor of shape \(2, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "torch.uint8 is no picture"),
        (torch.full((3, 4, 4), torch.inf), "not finite"),
        (np.full((4, 4, 3), 200.0), r"reach from 200 to 200, but floats must lie in \[0, 1\]"),
        (torch.full((3, 4, 4), 2.0), r"floats must lie in \[-1, 1\]"),
        (np.zeros((0, 0, 3), np.uint8), "is empty"),
        (torch.zeros(3, 0, 0), "is empty"),
        (Image.new("RGB", (0, 5)), "is empty"),
        (b"no picture", "not a picture that can be read"),
        ("file:///etc/passwd", "There is no file"),
    ],
)
def test_what_is_no_picture_is_answered_in_one_sentence(bad: Any, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        as_picture(bad)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An HTTP server over ``tmp_path``."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return None

    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()


def test_a_url_is_fetched_up_to_a_limit(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth_image(32, 32, 2)
    image.save(tmp_path / "far.png")
    fetched = as_picture(f"{server}/far.png")
    assert fetched.name == "far"
    assert np.array_equal(np.asarray(fetched.image), np.asarray(image))
    with pytest.raises(PictureError, match="cannot be fetched"):
        as_picture(f"{server}/missing.png")
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    with pytest.raises(PictureError, match="larger than"):
        as_picture(f"{server}/far.png")


def test_a_pipeline_and_a_method_object_serve_as_model_and_method(studio: Studio, tmp_path: Path) -> None:
    content, style = smooth_image(64, 64, 1), smooth_pixels(64, 64, 2)
    result = studio.stylize(content, style, seed=3, method=QUICK)
    named = studio.stylize(
        content, style, seed=3, method="guided", steps=4, strength=0.5, size=64, weights=dict(QUICK.weights)
    )
    assert np.array_equal(np.asarray(result.picture), np.asarray(named.picture))
    weaker = studio.stylize(content, style, seed=3, method=QUICK, strength=0.25)
    assert weaker.manifest["settings"]["strength"] == 0.25
    path = result.save(tmp_path / "out.png", sidecar=True)
    assert read_manifest(path)["settings"]["steps"] == 4
    assert (tmp_path / "out.png.json").is_file()
    shown = Image.open(io.BytesIO(result._repr_png_()))
    assert np.array_equal(np.asarray(shown), np.asarray(result.picture))


def test_saving_keeps_what_is_there_unless_forced(studio: Studio, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    smooth_image(64, 64, 1).save(photo)
    original = photo.read_bytes()
    result = studio.stylize(photo, smooth_image(64, 64, 2), method=QUICK)
    assert [result.save(photo).name for _ in range(2)] == ["photo-1.png", "photo-2.png"]
    assert photo.read_bytes() == original
    assert result.save(tmp_path / "other.png", sidecar=True).name == "other.png"
    (tmp_path / "other.png").unlink()
    assert result.save(tmp_path / "other.png", sidecar=True).name == "other-1.png"
    assert result.save(photo, force=True) == photo
    assert photo.read_bytes() != original


def test_a_list_gives_a_list(studio: Studio) -> None:
    contents: list[pictures.PictureLike] = [smooth_image(64, 64, 1), smooth_pixels(64, 80, 3)]
    results = studio.stylize(contents, smooth_image(64, 64, 2), method=QUICK)
    assert [result.picture.size for result in results] == [(64, 64), (80, 64)]
    assert results[0].manifest["versions"]["velatura"] == velatura.__version__


def test_a_mask_in_memory_leaves_the_rest_as_it_is(studio: Studio) -> None:
    content = smooth_image(64, 64, 1)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    result = studio.stylize_regions(content, [(mask, smooth_image(64, 64, 2))], method=QUICK)
    ours, theirs = np.asarray(result.picture), np.asarray(content)
    assert np.array_equal(ours[:, 40:], theirs[:, 40:])
    assert not np.array_equal(ours[:, :24], theirs[:, :24])
    with pytest.raises(StoppedError):
        studio.stylize_regions(content, [(mask, smooth_image(64, 64, 2))], method=QUICK, on_step=lambda *_: False)


def test_previews_are_shown_and_false_stops_the_run(studio: Studio) -> None:
    content, style = smooth_image(64, 96, 1), smooth_image(64, 64, 2)
    seen: list[tuple[int, Image.Image]] = []

    def watch(step: int, preview: Image.Image) -> None:
        seen.append((step, preview))

    watched = studio.stylize(content, style, method=QUICK, on_step=watch)
    assert [step for step, _ in seen] == [1, 2]
    assert all(preview.size == (96, 64) for _, preview in seen)
    unwatched = studio.stylize(content, style, method=QUICK)
    assert np.array_equal(np.asarray(watched.picture), np.asarray(unwatched.picture))
    with pytest.raises(StoppedError, match="Stopped at step 1"):
        studio.stylize(content, style, method=QUICK, on_step=lambda step, preview: False)


def test_a_torch_dtype_names_the_number_format() -> None:
    from velatura.errors import SettingError
    from velatura.models.loading.devices import choose_dtype

    cpu = torch.device("cpu")
    assert choose_dtype(cpu, torch.bfloat16) == torch.bfloat16
    with pytest.raises(SettingError, match="Unknown number format"):
        choose_dtype(cpu, torch.int8)
