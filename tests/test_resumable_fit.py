"""A fit that is interrupted, anywhere and any number of times, gives the style of an uninterrupted one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import full_disk, smooth_image
from tests.tiny_house import tiny_house
from velatura.methods.base import Method
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler, fitting
from velatura.methods.resumable_fit import Curve, FitCheckpoint, resumable_fit
from velatura.methods.s2prest import S2PreST
from velatura.picture import Picture
from velatura.style import Style
from velatura.style.checkpoint import FitState
from velatura.training.parted_file import read_parts, write_parts
from velatura.training.training_log import TrainingLog

T = TypeVar("T")
PICTURE = Picture.of(smooth_image(64, 64, 1), "style")
METHODS: Mapping[str, Method] = {
    "s2prest": S2PreST(fit_steps=5, fit_batch=1, fit_views=2, fit_check=2, fit_size=64),
    "diffstyler": DiffStyler(fit_steps=5, fit_size=64, fit_every=2, rank=2, fit_rate=1e-2),
}


class Interrupted:
    """Progress of somebody who presses Ctrl-C at the ``event``-th report: before or after a step, or at a loss."""

    def __init__(self, event: int) -> None:
        self.left = event

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        for item in items:
            self._count()
            yield item
            self._count()

    def note(self, **values: float) -> None:
        self._count()


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_interrupted_twice_gives_the_same_style(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between checks, in a fit that was resumed already."""
    monkeypatch.setattr(fitting, "MOMENT_STEPS", 2)

    def fit(path: Path | None, **options: Any) -> Style:
        return METHODS[name].fit(PICTURE, "style", RunContext(tiny_house(), **options), checkpoint=path)

    path = tmp_path / "fit.safetensors"
    for event in (6, 2):
        with pytest.raises(KeyboardInterrupt):
            fit(path, progress=Interrupted(event))
        assert path.exists()
    resumed, whole = fit(path), fit(None)
    assert resumed.card["loss"] == whole.card["loss"] and resumed.identity == whole.identity
    assert list(tmp_path.iterdir()) == []


class Walk:
    """A fit whose steps and losses are random; it stops at the first loss below ``enough``."""

    def __init__(self, enough: float) -> None:
        self.enough = enough
        self.generator = torch.Generator().manual_seed(0)
        self.place = torch.zeros(3)

    def initial_loss(self) -> float:
        return self.loss()

    def step(self, step: int) -> None:
        self.place = self.place + torch.randn(3, generator=self.generator) * (step + 1)

    def loss(self) -> float:
        return self.place.square().sum().item() % 1

    def stops(self, losses: Sequence[float]) -> bool:
        return len(losses) > 1 and losses[-1] < self.enough

    def state(self) -> dict[str, Tensor]:
        return {"place": self.place}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.place = state["place"]


@dataclasses.dataclass(frozen=True)
class StubbornCheckpoint(FitCheckpoint):
    """A checkpoint before and after whose writing and deletion Ctrl-C may be pressed too."""

    progress: Interrupted = Interrupted(10**9)  # noqa: RUF009 (never interrupted)

    def save(self, fit: Any, curve: Curve) -> None:
        super().save(fit, curve)
        self.progress.note()

    def discard(self) -> None:
        self.progress.note()
        super().discard()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    steps=st.integers(1, 12),
    every=st.integers(1, 5),
    enough=st.floats(0, 0.7),
    events=st.lists(st.integers(0, 40), max_size=4),
)
def test_any_interruptions_leave_the_result_as_it_is(steps: int, every: int, enough: float, events: list[int]) -> None:
    never = Interrupted(10**9)
    whole = Walk(enough)
    expected = resumable_fit(whole, steps, every, FitCheckpoint(None, ""), never)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fit.safetensors"
        for event in events:
            progress = Interrupted(event)
            try:
                resumable_fit(Walk(enough), steps, every, StubbornCheckpoint(path, "", None, progress), progress)
            except KeyboardInterrupt:
                continue
        resumed = Walk(enough)
        assert resumable_fit(resumed, steps, every, FitCheckpoint(path, ""), never) == expected
        assert torch.equal(resumed.place, whole.place) and not path.exists()


def test_a_damaged_checkpoint_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    FitState("this fit", {"place": torch.arange(8.0)}, {"curve": [[0, 0.5]]}).save(path)
    content = path.read_bytes()
    assert FitState.load(path, "this fit") is not None and FitState.load(path, "another") is None
    path.write_bytes(content[:-5] + b"\1" + content[-4:])
    assert FitState.load(path, "this fit") is None


def test_a_disk_that_is_full_costs_the_checkpoint_and_not_the_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    never = Interrupted(10**9)
    expected = resumable_fit(Walk(0), 6, 2, FitCheckpoint(None, ""), never)
    assert resumable_fit(Walk(0), 6, 2, FitCheckpoint(tmp_path / "file" / "fit", ""), never) == expected
    with full_disk(after=100):
        assert resumable_fit(Walk(0), 6, 2, FitCheckpoint(tmp_path / "fit", ""), never) == expected
    assert len(caplog.records) == 2 and "the work goes on without it" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_trainings_checkpoint_survives_a_full_disk_and_its_damage_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from velatura.errors import ModelError

    log = TrainingLog(tmp_path)
    log.save({"step": 1})
    with full_disk(after=100):
        log.save({"step": 2, "weights": torch.zeros(1000)})
    assert log.load() == {"step": 1} and "the work goes on without it" in caplog.text
    index, [part] = tmp_path / "checkpoint.json", list(tmp_path.glob("*.part"))
    assert sorted(tmp_path.iterdir()) == sorted([index, part])
    whole = {index: index.read_bytes(), part: part.read_bytes()}
    damages = [(index, damage) for damage in (b"", b"\x80\x02", b"{}", b"[]", b'{"sha256": "../x", "parts": 1}')]
    for path, damage in [*damages, (part, b""), (part, whole[part][:-200])]:
        path.write_bytes(damage)
        with pytest.raises(ModelError, match="is damaged"):
            log.load()
        path.write_bytes(whole[path])
    part.unlink()
    with pytest.raises(ModelError, match="is damaged"):
        log.load()


def test_a_large_checkpoint_comes_in_small_files_and_only_the_last_is_kept(tmp_path: Path) -> None:
    index = tmp_path / "state.json"
    for content in (b"first" * 5, b"second" * 9, b"second" * 9, b""):
        write_parts(index, content, part_bytes=8)
        parts = list(tmp_path.glob("*.part"))
        assert read_parts(index) == content
        assert len(parts) == -(-len(content) // 8) and all(part.stat().st_size <= 8 for part in parts)
