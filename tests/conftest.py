"""What several tests need: small pictures and a throw-away home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.tiny_house import tiny_house
from velatura.progress import Silent
from velatura.training.timed import Clock

T = TypeVar("T")

SHARED = Path(__file__).resolve().parents[2] / "shared"  # recordings and pictures


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing a test does reaches the user's own styles."""
    folder = tmp_path / "velatura-home"
    monkeypatch.setenv("VELATURA_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny house model, as --model takes it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-house"
    tiny_house().pipeline.save_pretrained(folder)
    return str(folder)


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """While open, no file of this program grows over ``after`` bytes: writing more is an OSError."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Impatient(Silent):
    """Somebody who presses Ctrl-C in the fourth step."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        for index, item in enumerate(items):
            if index == 3:
                raise KeyboardInterrupt
            yield item


def smooth_pixels(height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    """A smooth coloured picture (1, 3, H, W) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 5, 5), generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)


def smooth_image(height: int = 64, width: int = 64, seed: int = 0) -> Image.Image:
    from velatura.picture import pixels_to_image

    return pixels_to_image(smooth_pixels(height, width, seed))


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Two photos and two paintings, a folder each, for trainings."""
    found: tuple[list[Path], list[Path]] = ([], [])
    for kind, paths in zip(("photo", "painting"), found, strict=True):
        for number in range(2):
            paths.append(tmp_path / kind / f"{number}.png")
            paths[-1].parent.mkdir(exist_ok=True)
            smooth_image(300, 270, 10 * number + len(kind)).save(paths[-1])
    return found


def interrupt_training(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C at the end of the ``steps``-th step of a timed training."""
    left = iter(range(steps - 1))

    def tick(_: Clock) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(Clock, "tick", tick)
