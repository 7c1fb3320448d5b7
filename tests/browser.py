"""A page in Debian's Chromium over the tiny model, for the tests that use it as people do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura import Studio
from velatura.page.serving import add_page
from velatura.service.http import create_app
from velatura.service.service import Service
from velatura.service.settings import ServiceSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Playwright

CHROMIUM = Path("/usr/bin/chromium")
SHOTS = Path(__file__).parents[1] / "build" / "page"  # where screenshots are kept, to be looked at
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 60_000  # milliseconds


@contextmanager
def served(data: Path, token: str = "") -> Iterator[tuple[str, Service]]:
    """The page's URL and its service, over the tiny model, on a free port."""
    service = Service(
        ServiceSettings(data=data / "service", port=0, rate=100_000, preview_every=1, token=token),
        Studio(tiny_house().pipeline, library_folder=data / "styles"),
    )
    config = uvicorn.Config(
        add_page(create_app(service), service), port=0, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/", service
    finally:
        server.should_exit = True
        thread.join(20)


def launched(playwright: Playwright) -> Browser:
    """Debian's Chromium."""
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)


class Visitor:
    """Somebody at a page, who finds things by their names as a screen reader does."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self._check_is_ours(request.url, url))
        self.url = url
        self.page.goto(url)
        self.page.get_by_role("radio", name="Steered by texture").wait_for()

    def _check_is_ours(self, asked: str, own: str) -> None:
        if not asked.startswith((own, "data:", "blob:")):
            self.problems.append(f"asked for {asked}")

    def press(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def tab(self, name: str) -> Locator:
        """Open a tab; its panel."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        return self.page.get_by_role("tabpanel", name=name, exact=True)

    def give(self, button: str, *files: Path) -> None:
        """Choose files in the dialogue that a button opens."""
        with self.page.expect_file_chooser() as chooser:
            self.press(button)
        chooser.value.set_files([str(file) for file in files])

    def bring(self, photo: Path, *styles: Path) -> None:
        """Choose a photo and styles, and settings with which the tiny model is quick."""
        self.give("Choose a photo", photo)
        self.page.locator(".stage img").first.wait_for()
        self.give("Add a picture", *styles)
        self.page.locator(".swatch[aria-pressed=true]").first.wait_for()
        self.page.get_by_role("radio", name="Quick look").check()
        self.steps(4)

    def steps(self, number: int) -> None:
        """Set the number of steps, below the fold."""
        field = self.page.get_by_label("Steps", exact=True)
        if not field.is_visible():
            self.page.get_by_text("All settings").click()
        field.fill(str(number))
        field.blur()

    def tool(self, name: str) -> None:
        """Choose where the style goes."""
        self.page.get_by_role("radio", name=name, exact=True).check()

    def stylise(self) -> None:
        """Press Stylise, and wait for the result."""
        self.page.locator("#go").click()
        self.page.get_by_role("slider", name="Before and after").wait_for()

    def on_photo(self, x: float, y: float) -> tuple[float, float]:
        """A point of the photo, in shares of its sides, on the screen."""
        box = self.page.locator("canvas").bounding_box()
        assert box
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def draws_at(self, x: float, y: float) -> bool:
        """Whether something is drawn over a point of the photo."""
        return bool(
            self.page.locator("canvas").evaluate(
                """(canvas, [x, y]) => canvas.getContext("2d")
                .getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3] > 0""",
                [x, y],
            )
        )

    def shot(self, name: str) -> None:
        """Keep a screenshot."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"))

    def faults(self, script: str) -> list[str]:
        """What axe-core finds wrong with the page as it is."""
        self.page.evaluate(script)
        found = self.page.evaluate("axe.run()")
        return [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found["violations"]]

    def loses_the_server(self) -> Callable[[], None]:
        """Let no request through, as where the server is away; returns what brings it back."""
        self.context.route("**/*", lambda route: route.abort())
        return lambda: self.context.unroute_all(behavior="ignoreErrors")

    def drag(self, *points: tuple[float, float]) -> None:
        """Draw a line on the photo."""
        self.page.mouse.move(*self.on_photo(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.on_photo(*point), steps=4)
        self.page.mouse.up()

    def leave(self) -> None:
        """Close the page. Raises AssertionError where it logged an error or asked for anything of another host."""
        self.context.close()
        assert self.problems == []


def halves(folder: Path) -> Path:
    """A photo of two plain halves, so that its segments are known."""
    image = smooth_image(96, 128, 3).resize((128, 96))
    image.paste((220, 40, 30), (0, 0, 64, 96))
    image.paste((20, 60, 200), (64, 0, 128, 96))
    path = folder / "halves.png"
    image.save(path)
    return path
