"""Every command and snippet of the README and of docs/ runs, on tiny models. `<!-- not run: why -->` excepts a block;
its commands too are read by the command line's own parser, so that every option exists.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from tests.command_line import run
from tests.docs_pages import PAGES, ROOT, blocks, commands, made_by, prepare, quick
from tests.tiny_house import tiny_house
from velatura.app import cli, studio
from velatura.models.loading import catalogue
from velatura.models.loading.load import load_backbone

WHOLE_FILES = ("your-own-method.md", "your-own-loss.md")  # run by test_docs.py
SERVERS = ("ui", "serve")  # started by test_docs_server.py


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, id=f"{page.stem}-{index}")
        for page in PAGES
        for index, call in enumerate(commands(page, excepted=True))
    ],
)
def test_every_command_on_a_page_is_one_that_the_command_line_reads(call: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    context = command.make_context("velatura", list(call))
    while hasattr(command, "resolve_command") and (left := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, left)
        context = command.make_context(name, rest, parent=context)
    assert not context.args


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> Iterator[Path]:
    """A folder of a reader's own, where house is the tiny model and others are folders."""

    house = copy.copy(tiny_house())
    house.name = "house"

    def load(name: str, *how: Any) -> Any:
        return house if name == "house" else load_backbone(str(Path(name).resolve()), *how)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studio, "load_backbone", load)
    monkeypatch.setattr(catalogue, "HOUSE_FOLDER", Path(model))
    yield tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_one_after_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str, page: Path
) -> None:
    prepare(folder, page.name)
    for call in commands(page):
        if call[0] not in SERVERS:
            assert run(monkeypatch, *quick(call, model)) == 0, (call, capsys.readouterr().err)
    assert [made for made in made_by(page) if not (folder / made).is_file()] == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{page.stem}-{index}")
        for page in PAGES
        if page.name not in WHOLE_FILES
        for index, code in enumerate(blocks(page, "python"))
    ],
)
def test_every_snippet_runs(folder: Path, code: str) -> None:
    prepare(folder, "")
    exec(compile(code, "snippet", "exec"), ModuleType("snippet").__dict__)


def test_every_page_is_in_the_navigation() -> None:
    written = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:] if "decisions" not in page.parts]
    assert [page for page in pages if f": {page}\n" not in written] == []
