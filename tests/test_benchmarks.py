"""The benchmark's own arithmetic: which pairs, what is worst, and that nothing is painted twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from velatura.errors import SettingError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kept_results
    import measuring
    import methods

    return {"kept_results": kept_results, "measuring": measuring, "methods": methods}


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (64, 64), (number, 80, 90)).save(folder / f"{number:02d}.png")
    return folder


def test_thirty_pairs_are_thirty_and_cover_each_kind_of_style(tmp_path: Path, benchmark: Any) -> None:
    contents, styles = pictures(tmp_path / "c", 10), pictures(tmp_path / "s", 20)
    chosen = [(pair.content.name, pair.style.name) for pair in benchmark["measuring"].pairs(contents, styles, 30, 64)]
    assert len(set(chosen)) == 30 and len({content for content, _ in chosen}) == 10
    kinds = json.loads((BENCHMARKS / "style_kinds.json").read_text())
    for names in kinds.values():
        stems = {Path(name).stem for name in names}
        assert len(stems) >= 6 and sum(Path(style).stem in stems for _, style in chosen) >= 6


def test_the_worst_tenth_goes_by_the_arrow(benchmark: Any) -> None:
    worst = benchmark["kept_results"].worst_tenth
    values = [float(value) for value in range(20)]
    assert worst(values, "edge F1 ↑") == 0.5 and worst(values, "lattice ↓") == 18.5
    assert worst([0.9, 1.2, 1.1], "sharpness") == 1.2


def test_methods_have_labels_with_settings_of_their_own(benchmark: Any) -> None:
    chosen = benchmark["methods"].chosen_methods("guided,soft=guided", ["soft:strength=0.25"], 64)
    assert chosen == {"guided": ("guided", {"size": 64}), "soft": ("guided", {"size": 64, "strength": 0.25})}
    with pytest.raises(SettingError, match="LABEL:NAME=VALUE"):
        benchmark["methods"].chosen_methods("guided", ["strength=1"], 64)


def test_a_run_goes_on_and_refuses_other_settings(tmp_path: Path, benchmark: Any) -> None:
    kept_results, pairs = benchmark["kept_results"], benchmark["measuring"].pairs
    pair = next(pairs(pictures(tmp_path / "c", 1), pictures(tmp_path / "s", 1), 1, 64))
    example = kept_results.Example("one", pair.content, pair.c, [kept_results.Part(pair.style, pair.s)])
    painted, measured = [], []

    def paint() -> tuple[Image.Image, float]:
        painted.append(1)
        return Image.new("RGB", (64, 64), (0, 80, 90)), 2.0

    def distance(result: torch.Tensor, content: torch.Tensor, style: torch.Tensor, mask: object) -> float:
        measured.append(1)
        return (result - content).abs().max().item()

    for _ in range(2):
        kept = kept_results.KeptResults(tmp_path / "out", {"size": 64})
        kept.make(example, paint)
        kept.measure(example, {"far ↓": distance})
    assert len(painted) == len(measured) == 1
    assert kept.column("far ↓", ["one"]) == [0.0] and kept.column("seconds", ["one"]) == [2.0]
    with pytest.raises(SettingError, match="other settings"):
        kept_results.KeptResults(tmp_path / "out", {"size": 128})
