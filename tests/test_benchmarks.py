"""The folder benchmarks/: that the project's pairs hold every kind of style, and results inside masks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house, tiny_studio
from velatura.evaluation.benchmark.kinds import read_kinds
from velatura.evaluation.benchmark.plan import Entry, Sample, paired
from velatura.evaluation.outsiders import outsider_class
from velatura.picture import image_to_pixels

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import regions

    return regions


def test_thirty_pairs_are_thirty_and_cover_each_kind_of_style() -> None:
    grey = Image.new("RGB", (64, 64))
    contents, styles = ([Sample(f"{n:02d}", f"{n}", grey) for n in range(count)] for count in (10, 20))
    chosen = paired(contents, styles, 30)
    assert len({pair.name for pair in chosen}) == 30 and len({pair.content.name for pair in chosen}) == 10
    for names in read_kinds(BENCHMARKS / "style_kinds.json", chosen).values():
        assert len(names) >= 6 and sum(pair.style.name in names for pair in chosen) >= 6


def test_an_outsiders_results_lie_inside_the_masks(tmp_path: Path, regions: ModuleType) -> None:
    for number, name in enumerate(["deer1.jpg", "deer_c1.jpg", "deer_c2.jpg"]):
        smooth_image(64, 64, number).save(tmp_path / name, quality=100)
    for name, first, last in (("deer1_deer.png", 0, 16), ("deer1_grass.png", 40, 64)):
        mask = Image.new("L", (64, 64))
        mask.paste(255, (first, 0, last, 64))
        mask.save(tmp_path / name)
    example = regions.Example.of(tmp_path, "deer", 64)
    assert [int(pair.mask.sum()) for pair in example.pairs] == [16 * 64, 24 * 64]
    assert [pair.name for pair in example.pairs] == ["deer_deer_c1", "deer_deer_c2"]
    entry = Entry("style", outsider_class("style")(tiny_house))
    result = image_to_pixels(regions.painted(entry, example, tiny_studio()))
    content, first, second = example.pairs[0].content.pixels(), *(pair.style.pixels() for pair in example.pairs)
    for shown, columns in ((first, slice(0, 16)), (content, slice(16, 40)), (second, slice(40, 64))):
        assert torch.allclose(result[..., columns], shown[..., columns], atol=1 / 127)
