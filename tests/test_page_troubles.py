"""The page in a real Chromium where something is wrong, lost or taken back: ``make test-ui``."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser

from tests.browser import CHROMIUM, Visitor, served
from velatura.service.service import Service

pytest_plugins = ("tests.page_fixtures",)
pytestmark = [pytest.mark.ui, pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")]


def test_a_setting_that_cannot_be_used_is_refused_at_its_field(
    visitor: Visitor, place: tuple[str, Service], photo: Path, style: Path
) -> None:
    page = visitor.page
    visitor.bring(photo, style)
    before = len(place[1].history())
    visitor.steps(0)
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("-5")
    seed.blur()
    page.get_by_text("This must be from 1 to 1000.").wait_for()
    page.locator("#go").click()
    assert page.get_by_label("Steps", exact=True).evaluate("field => field === document.activeElement")
    assert page.get_by_label("Steps", exact=True).input_value() == "0"
    visitor.shot("refused")
    visitor.steps(3)
    page.locator("#go").click()
    assert seed.evaluate("field => field === document.activeElement")
    assert len(place[1].history()) == before
    seed.fill("5")
    seed.blur()
    visitor.stylise()
    assert (place[1].history(limit=1)[0].request.seed, place[1].history(limit=1)[0].request.settings["steps"]) == (5, 3)


def test_a_result_that_was_removed_comes_back(visitor: Visitor, photo: Path, style: Path) -> None:
    visitor.bring(photo, style)
    visitor.stylise()
    history = visitor.tab("History")
    history.get_by_role("article").first.wait_for()
    before = history.get_by_role("article").count()
    history.get_by_role("button", name="Remove").first.click()
    visitor.page.get_by_text("is deleted").wait_for()
    assert history.get_by_role("article").count() == before - 1
    visitor.press("Undo")
    visitor.page.wait_for_function(
        "count => document.querySelectorAll('#panel-history article').length === count", arg=before
    )
    assert history.get_by_role("article").first.locator("img").count() == 1


def test_a_reload_keeps_the_work_and_strokes_can_be_undone(visitor: Visitor, photo: Path, style: Path) -> None:
    page = visitor.page
    visitor.bring(photo, style)
    visitor.tool("Brush")
    visitor.drag((0.1, 0.2), (0.3, 0.3))
    visitor.drag((0.6, 0.7), (0.8, 0.7))
    assert visitor.draws_at(0.2, 0.25) and visitor.draws_at(0.7, 0.7)
    page.keyboard.press("Control+z")
    assert visitor.draws_at(0.2, 0.25) and not visitor.draws_at(0.7, 0.7)
    visitor.press("Redo")
    assert visitor.draws_at(0.7, 0.7)
    visitor.press("Undo")
    page.get_by_label("How much of it").fill("0.5")
    page.wait_for_timeout(500)
    page.reload()
    page.locator(".region").wait_for()
    assert page.locator(".swatch[aria-pressed=true]").get_attribute("title") == "waves"
    assert page.get_by_label("How much of it").input_value() == "0.5"
    assert page.get_by_role("radio", name="Quick look").is_checked()
    assert page.get_by_label("Steps", exact=True).input_value() == "4"
    assert visitor.draws_at(0.2, 0.25) and not visitor.draws_at(0.7, 0.7)
    with page.expect_file_chooser():  # and nothing is chosen: nothing is lost
        visitor.press("Another photo")
    assert page.locator(".region").count() == 1 and page.locator(".stage img").first.is_visible()
    visitor.stylise()
    page.reload()
    page.get_by_role("slider", name="Before and after").wait_for()


def test_a_lost_connection_is_said_and_a_cancel_is_sent_again(
    visitor: Visitor, place: tuple[str, Service], photo: Path, style: Path
) -> None:
    visitor.bring(photo, style)
    visitor.steps(1000)
    visitor.page.locator("#go").click()
    visitor.page.locator(".easelside progress[value]").wait_for()
    comes_back = visitor.loses_the_server()
    visitor.press("Cancel")
    visitor.page.get_by_text("The connection to the server is lost. Trying again …").wait_for()
    visitor.shot("lost")
    assert place[1].history(limit=1)[0].state == "running"
    comes_back()
    visitor.page.get_by_text("Cancelled. Nothing was kept.").wait_for()
    assert place[1].history(limit=1)[0].state == "cancelled" and not visitor.page.locator(".lost").is_visible()
    visitor.problems.clear()  # the browser logs what did not come through


def test_a_sweep_goes_on_over_a_lost_connection_and_a_reload(visitor: Visitor, photo: Path, style: Path) -> None:
    visitor.bring(photo, style)
    visitor.steps(12)
    panel = visitor.tab("Sweep")
    panel.get_by_label("Keeps the drawing").uncheck()
    panel.get_by_role("button", name="Make 2 pictures").click()
    panel.get_by_role("button", name="Cancel the rest").wait_for()
    comes_back = visitor.loses_the_server()
    visitor.page.locator(".lost").wait_for()
    comes_back()
    visitor.page.locator(".lost").wait_for(state="hidden")
    visitor.page.reload()
    panel.locator("button.pic").nth(1).wait_for()
    panel.get_by_role("button", name="Cancel the rest").wait_for(state="hidden")
    visitor.problems.clear()  # the browser logs what did not come through


def test_the_token_is_asked_for_once_and_a_wrong_one_is_said(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path, token="a long token") as (url, _):
        visitor = Visitor(browser, url)
        asks = visitor.page.get_by_role("dialog", name="Token")
        for tried in ("wrong", "a long token"):
            asks.get_by_label("Token").fill(tried)
            assert visitor.page.locator("dialog").count() == 1 and visitor.page.locator(".toast").count() == 0
            asks.get_by_role("button", name="Sign in").click()
            if tried == "wrong":
                visitor.page.get_by_text("That is not the token.").wait_for()
                visitor.shot("token")
        asks.wait_for(state="detached")
        visitor.page.get_by_label("Steps", exact=True).wait_for(state="attached")
        assert "token" not in visitor.page.url
        visitor.problems.clear()  # the browser logs the refused requests
        visitor.leave()


def test_words_for_a_style_are_not_lost_with_a_method_that_needs_a_picture(visitor: Visitor, photo: Path) -> None:
    page = visitor.page
    visitor.give("Choose a photo", photo)
    page.locator(".stage img").first.wait_for()
    visitor.press("In words")
    page.get_by_label("A style in words").fill("a watercolour")
    page.get_by_role("dialog").get_by_role("button", name="Use").click()
    page.get_by_role("radio", name="Keeps the drawing").check()
    page.get_by_text("“Keeps the drawing” cannot use the chosen style").wait_for()
    assert page.get_by_role("button", name="a watercolour").is_disabled()
    visitor.shot("words")
    page.get_by_role("radio", name="Steered by texture").check()
    assert page.locator("#go").is_enabled()
