"""What the tests of the page in a browser share: a server over the tiny model, Chromium, a visitor, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import Visitor, halves, launched, served
from tests.conftest import smooth_image
from velatura.service.service import Service


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service]]:
    with served(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launched(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


@pytest.fixture
def visitor(browser: Browser, place: tuple[str, Service]) -> Iterator[Visitor]:
    found = Visitor(browser, place[0])
    yield found
    for job in place[1].history(limit=5):  # a test that fails must not keep the next one waiting
        place[1].cancel(job.id)
    found.leave()


@pytest.fixture
def style(tmp_path: Path) -> Path:
    path = tmp_path / "waves.png"
    smooth_image(64, 64, 7).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return halves(tmp_path)
