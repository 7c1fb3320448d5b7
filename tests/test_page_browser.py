"""The page in a real Chromium, used as people use it: ``make test-ui``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python")
from playwright.sync_api import Browser

from tests.browser import CHROMIUM, Visitor
from velatura.service.service import Service

pytest_plugins = ("tests.page_fixtures",)
pytestmark = [pytest.mark.ui, pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def latest(service: Service) -> Any:
    return service.history(limit=1)[0]


def test_a_photo_is_stylised_before_ones_eyes_and_kept(
    visitor: Visitor, place: tuple[str, Service], photo: Path, style: Path
) -> None:
    page = visitor.page
    visitor.shot("empty")
    visitor.bring(photo, style)
    visitor.steps(12)
    page.locator("#go").click()
    preview = page.locator("img.preview")
    preview.wait_for(state="visible")
    first = preview.get_attribute("src")
    page.wait_for_timeout(200)
    visitor.shot("painting")
    seen = {first}
    while preview.is_visible():
        seen.add(preview.get_attribute("src"))
        page.wait_for_timeout(30)
    assert len(seen) > 2, "the preview does not change"
    wipe = page.get_by_role("slider", name="Before and after")
    wipe.wait_for()
    before = wipe.input_value()
    wipe.press("ArrowRight")
    assert int(wipe.input_value()) == int(before) + 1
    visitor.shot("result")
    answer = visitor.context.request.get(
        visitor.url.rstrip("/") + str(page.get_by_role("link", name="Download").get_attribute("href"))
    )
    assert Image.open(io.BytesIO(answer.body())).size == (128, 96)
    visitor.press("Why does it look so?")
    page.get_by_role("dialog").get_by_role("table").first.wait_for()
    visitor.shot("why")
    page.keyboard.press("Escape")
    page.reload()
    history = visitor.tab("History")
    card = history.get_by_role("article").first
    card.get_by_role("heading", name="halves in waves").wait_for()
    visitor.shot("history")
    card.get_by_role("button", name="Use these settings again").click()
    page.locator(".stage img").first.wait_for()
    assert page.get_by_role("radio", name="Quick look").is_checked()
    assert page.get_by_label("Steps", exact=True).input_value() == "12"
    assert latest(place[1]).request.settings == {"size": 256, "steps": 12}


def test_a_run_is_cancelled_within_a_step(
    visitor: Visitor, place: tuple[str, Service], photo: Path, style: Path
) -> None:
    visitor.bring(photo, style)
    visitor.steps(1000)
    visitor.page.locator("#go").click()
    visitor.page.locator(".easelside progress[value]").wait_for()
    visitor.press("Cancel")
    visitor.page.get_by_text("Cancelled. Nothing was kept.").wait_for()
    assert visitor.page.locator("#go").is_enabled()
    assert latest(place[1]).state == "cancelled"


def test_a_run_is_followed_again_after_a_reload(visitor: Visitor, photo: Path, style: Path) -> None:
    visitor.bring(photo, style)
    visitor.steps(50)
    visitor.page.locator("#go").click()
    visitor.page.locator("img.preview:visible").wait_for()
    visitor.page.reload()
    visitor.page.locator("img.preview:visible").wait_for()
    visitor.press("Cancel")
    visitor.page.get_by_text("Cancelled. Nothing was kept.").wait_for()


def test_a_region_by_click_leaves_everything_else_as_it_is(
    visitor: Visitor, place: tuple[str, Service], photo: Path, style: Path
) -> None:
    page = visitor.page
    visitor.bring(photo, style)
    visitor.tool("Click")
    page.locator("canvas.drawing").wait_for()
    for _ in range(100):  # the segments are found by the server meanwhile
        page.mouse.move(*visitor.on_photo(0.2, 0.5))
        page.mouse.move(*visitor.on_photo(0.25, 0.5))
        if visitor.draws_at(0.25, 0.5):
            break
        page.wait_for_timeout(50)
    assert visitor.draws_at(0.25, 0.5) and not visitor.draws_at(0.75, 0.5), (
        "what is under the pointer is not highlighted"
    )
    page.mouse.click(*visitor.on_photo(0.25, 0.5))
    page.get_by_text("1 part").wait_for()
    visitor.shot("region")
    visitor.stylise()
    job = latest(place[1])
    assert [region.where for region in job.request.regions] in (["segment:1"], ["segment:2"])
    made, asked = (np.asarray(Image.open(path).convert("RGB")) for path in (place[1].results.path(job.id), photo))
    assert (made[:, 72:] == asked[:, 72:]).all() and (made[:, :56] != asked[:, :56]).any()


def test_regions_by_keys_box_and_brush(visitor: Visitor, place: tuple[str, Service], photo: Path, style: Path) -> None:
    page = visitor.page
    visitor.bring(photo, style)
    visitor.tool("Click")
    canvas = page.locator("canvas.drawing")
    canvas.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("1 part").wait_for()
    visitor.press("Another region")
    visitor.tool("Brush")
    visitor.drag((0.1, 0.2), (0.3, 0.3))
    page.get_by_text("painted", exact=True).wait_for()
    visitor.tool("Box")
    visitor.drag((0.05, 0.5), (0.45, 0.95))
    page.locator(".region").nth(2).wait_for()
    page.get_by_label("How much of it").nth(1).fill("0.5")
    visitor.shot("regions")
    visitor.stylise()
    where = [region.where.partition(":")[0] for region in latest(place[1]).request.regions]
    assert where == ["segment", "mask", "polygon"]  # plain halves hold no one thing
    assert [region.weight for region in latest(place[1]).request.regions] == [1, 0.5, 1]


def test_a_sweep_is_a_grid_to_go_on_from(visitor: Visitor, photo: Path, style: Path) -> None:
    visitor.bring(photo, style)
    panel = visitor.tab("Sweep")
    panel.get_by_label("Keeps the drawing").uncheck()
    panel.get_by_role("button", name="Make 2 pictures").click()
    panel.locator("button.pic").nth(1).wait_for()
    visitor.shot("sweep")
    panel.locator("button.pic").nth(1).click()
    visitor.page.get_by_role("slider", name="Before and after").wait_for()
    assert visitor.page.get_by_label("Strength", exact=True).input_value() == "0.8"


def test_a_style_is_fitted_renamed_deleted_and_brought_back(visitor: Visitor, style: Path) -> None:
    page = visitor.page
    panel = visitor.tab("Styles")
    visitor.give("Fit a style", style)
    page.get_by_role("dialog").get_by_role("button", name="Fit a style").click()
    panel.get_by_role("heading", name="waves").wait_for()
    visitor.shot("styles")
    panel.get_by_role("button", name="Rename").click()
    page.get_by_label("New name").fill("sea")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    panel.get_by_role("heading", name="sea").wait_for()
    panel.get_by_role("button", name="Remove").click()
    panel.get_by_role("heading", name="sea").wait_for(state="detached")
    page.get_by_role("button", name="Undo").click()
    panel.get_by_role("heading", name="sea").wait_for()


def test_a_blind_choice_is_counted(visitor: Visitor, photo: Path, style: Path) -> None:
    visitor.bring(photo, style)
    for steps in (3, 5):
        visitor.steps(steps)
        visitor.stylise()
        visitor.press("Change and try again")
    panel = visitor.tab("Compare")
    panel.get_by_role("button", name="Start").click()
    panel.get_by_role("button", name="The left one").wait_for()
    visitor.shot("compare")
    visitor.page.keyboard.press("ArrowRight")
    panel.get_by_text("preferred in 1 of 1").wait_for()


@pytest.mark.parametrize("kind", ["desk-light", "desk-dark", "phone-light", "phone-dark"])
def test_every_tab_is_clean_for_axe_and_as_wide_as_the_screen(
    browser: Browser, place: tuple[str, Service], axe: str, photo: Path, style: Path, kind: str
) -> None:
    device, _, scheme = kind.partition("-")
    visitor = Visitor(browser, place[0], color_scheme=scheme, **(PHONE if device == "phone" else {}))
    visitor.bring(photo, style)
    visitor.tool("Click")
    for tab in ("Stylise", "Sweep", "Styles", "History", "Compare"):
        visitor.tab(tab)
        visitor.page.wait_for_timeout(300)
        visitor.shot(f"{tab.lower()}-{kind}")
        assert visitor.faults(axe) == [], tab
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab
    visitor.leave()


def test_two_browsers_at_once(browser: Browser, place: tuple[str, Service], photo: Path, style: Path) -> None:
    visitors = [Visitor(browser, place[0]) for _ in range(2)]
    for seed, visitor in enumerate(visitors):
        visitor.bring(photo, style)
        visitor.page.get_by_label("Seed", exact=True).fill(str(40 + seed))
        visitor.page.get_by_label("Seed", exact=True).blur()
    for visitor in visitors:
        visitor.page.locator("#go").click()
    for visitor in visitors:
        visitor.page.get_by_role("slider", name="Before and after").wait_for()
        visitor.leave()
    assert {job.request.seed for job in place[1].history(limit=2)} == {40, 41}


def test_what_is_wrong_is_said_in_one_sentence(visitor: Visitor, tmp_path: Path) -> None:
    wrong = tmp_path / "photo.png"
    wrong.write_bytes(b"no picture")
    visitor.give("Choose a photo", wrong)
    note = visitor.page.locator(".toast.bad")
    note.wait_for()
    assert "photo" in str(note.text_content())
    visitor.problems.clear()  # the browser logs the refused request
