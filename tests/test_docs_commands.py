"""Every command and snippet of the README and of docs/: run on a tiny model, or, where a run takes long or needs what
is not here, read by the command line's own parser, so that every option exists. `<!-- not run: why -->` excepts one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from tests.command_line import run
from tests.conftest import smooth_image
from tests.tiny_flow import SD35, save_tiny_flux, save_tiny_sd3, tiny_t5
from tests.tiny_house import tiny_house
from velatura.app import cli, studio
from velatura.models.loading import catalogue

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^>]+-->\n)?```(sh|bash|python)\n(.*?)```", re.DOTALL)
WHOLE_FILES = ("your-own-method.md", "your-own-loss.md")  # run by test_docs.py
RUN = ("start.md", "styleid.md", "fast.md", "regions.md")  # pages whose commands are run
QUICK = ("--set", "size=64", "--steps", "2")


def blocks(page: Path, *languages: str) -> list[str]:
    """A page's blocks in some languages, but those that are excepted."""
    found = BLOCK.findall(page.read_text())
    return [code for excepted, language, code in found if language in languages and not excepted]


def commands(page: Path) -> list[list[str]]:
    """The arguments of each call of velatura on a page."""
    lines = [line for code in blocks(page, "sh", "bash") for line in code.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if re.search(r"\bvelatura ", line)]
    calls = [each[each.index("velatura") + 1 :] for each in words if "velatura" in each and "pip" not in each]
    return [[word for word in call if word != "&"] for call in calls]


PARSED = [pytest.param(call, id=f"{page.stem}-{index}") for page in PAGES for index, call in enumerate(commands(page))]


@pytest.mark.parametrize("call", PARSED)
def test_every_command_on_a_page_is_one_that_the_command_line_reads(call: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    context = command.make_context("velatura", list(call))
    while hasattr(command, "resolve_command") and (left := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, left)
        context = command.make_context(name, rest, parent=context)
    assert not context.args


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> Iterator[Path]:
    """A folder with the pictures that pages name, where house is the tiny model."""
    smooth_image(64, 64, 1).save(tmp_path / "photo.jpg")
    smooth_image(64, 64, 2).save(tmp_path / "painting.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studio, "load_backbone", lambda *_: tiny_house())
    monkeypatch.setattr(catalogue, "HOUSE_FOLDER", Path(model))
    yield tmp_path


@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_run_one_after_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for call in commands(ROOT / "docs" / name):
        assert run(monkeypatch, *call, *(QUICK if call[0] == "stylize" else ())) == 0, call
    for made in re.findall(r"--out (\S+)", "".join(blocks(ROOT / "docs" / name, "sh"))):
        assert (folder / made).is_file(), made


def test_the_commands_of_todays_models_run_on_folders_in_their_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_flux(tmp_path / "FLUX.1-schnell", guidance_embeds=False)
    save_tiny_sd3(tmp_path / "stable-diffusion-3.5-medium", tiny_t5(), **SD35)
    smooth_image(64, 64, 1).save(tmp_path / "photo.jpg")
    smooth_image(64, 64, 2).save(tmp_path / "painting.jpg")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "todays-models.md"
    quick = {"stylize": QUICK, "fit": ("--set", "fit_size=64", "--set", "fit_steps=2")}
    for call in commands(page):
        assert run(monkeypatch, *call, *quick[call[0]]) == 0, call
    for made in re.findall(r"--out (\S+)", "".join(blocks(page, "sh"))):
        assert (tmp_path / made).is_file(), made


SNIPPETS = [
    pytest.param(code, id=f"{page.stem}-{index}")
    for page in PAGES
    if page.name not in WHOLE_FILES
    for index, code in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_every_snippet_runs(folder: Path, code: str) -> None:
    exec(compile(code, "snippet", "exec"), ModuleType("snippet").__dict__)


def test_every_page_is_in_the_navigation() -> None:
    written = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:] if "decisions" not in page.parts]
    assert [page for page in pages if f": {page}\n" not in written] == []
