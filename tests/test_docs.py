"""The pages of docs/ that hold whole files: the files work as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_house import tiny_house
from velatura import losses, registry
from velatura.errors import ModelError
from velatura.methods.context import RunContext
from velatura.picture import Picture
from velatura.regions import Region, parse_query

DOCS = Path(__file__).parents[1] / "docs"


def module_on(page: str, name: str) -> ModuleType:
    """The page's Python block as a module."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert len(blocks) == 1
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(blocks[0], str(DOCS / page), "exec"), module.__dict__)
    return module


@pytest.fixture
def method_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "velatura_docs_sdedit"
    module_on("your-own-method.md", name)
    monkeypatch.setattr(registry, "METHODS", {**registry.METHODS, "sdedit": f"{name}:SDEdit"})
    monkeypatch.setattr(registry, "NAMES", (*registry.NAMES, "sdedit"))
    yield "sdedit"
    del sys.modules[name]


def test_the_method_of_the_page_works_by_its_name_with_regions(method_page: str) -> None:
    method = registry.method_class(method_page)(steps=4)  # type: ignore[call-arg]
    context = RunContext(tiny_house(), seed=1)
    content = Picture.of(smooth_image(64, 96, 1), "content")
    style = method.fit(Picture.of(smooth_image(64, 64, 2), "style"), "style", context)
    whole = method.stylize([content], [Region(style)], context)[0]
    assert whole.picture.size == content.size
    assert whole.manifest["method"] == "sdedit"
    assert whole.scores["unet_evaluations"] == 2 * 2  # two steps under guidance
    part = method.stylize([content], [Region(style, parse_query("polygon:0,0;48,0;48,64;0,64"))], context)[0]
    kept = np.asarray(part.picture)[:, 60:]
    assert np.array_equal(kept, np.asarray(content.image)[:, 60:])
    assert not np.array_equal(np.asarray(part.picture)[:, :40], np.asarray(content.image)[:, :40])


def test_the_method_of_the_page_refuses_a_model_without_words(method_page: str) -> None:
    class Wordless:
        name = "wordless"

    with pytest.raises(ModelError, match="wordless has no words for pictures"):
        registry.method_class(method_page)().check_backbone(Wordless())  # type: ignore[arg-type]


def test_the_loss_of_the_page_is_zero_for_the_content_and_is_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    loss_class = module_on("your-own-loss.md", "velatura_docs_slope").SlopeMSE
    monkeypatch.setitem(losses.LOSSES, "slope", loss_class)  # type: ignore[arg-type]
    losses.check_losses({"slope": 1.0}, {})
    content = losses.LossInput(smooth_pixels(seed=3))
    brighter = losses.LossInput(content.pixels + 0.1)
    loss = loss_class(None)
    assert loss(content, content).item() == 0
    assert loss(brighter, content).item() == pytest.approx(0, abs=1e-12)
    turned = losses.LossInput(content.pixels.flip(-1).requires_grad_())
    assert loss(turned, content).item() > 1e-4
    gradient = torch.autograd.grad(loss(turned, content), turned.pixels)[0]
    assert bool(gradient.abs().sum() > 0)


def test_the_lines_of_the_loss_page_put_it_into_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "velatura.losses.slope"
    monkeypatch.setitem(sys.modules, name, module_on("your-own-loss.md", name))
    (lines,) = re.findall(r"```text\n(.*?)```", (DOCS / "your-own-loss.md").read_text(), re.DOTALL)
    imported, entry = lines.splitlines()
    source = Path(losses.__file__).read_text()
    opening = next(line for line in source.splitlines() if line.startswith("LOSSES:"))
    changed = source.replace(opening, "\n".join((imported, opening, entry)))
    module = ModuleType("velatura.losses")
    exec(compile(changed, losses.__file__, "exec"), module.__dict__)
    assert set(module.LOSSES) == {*losses.LOSSES, "slope"}
