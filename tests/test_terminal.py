"""The program at the terminal: version, short options, lists, bars."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import velatura
from velatura.app import terminal
from velatura.app.cli import app
from velatura.app.terminal import TerminalProgress
from velatura.registry import NAMES

run = CliRunner().invoke


def test_the_version_is_printed() -> None:
    result = run(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"velatura {velatura.__version__}\n")


def test_short_options_are_the_long_ones(tmp_path: Path) -> None:
    long = run(app, ["stylize", "no.jpg", "--style", "no.png", "--out", str(tmp_path / "x.png")])
    short = run(app, ["stylize", "no.jpg", "-s", "no.png", "-o", str(tmp_path / "x.png")])
    assert long.exit_code == short.exit_code == 2
    assert long.output == short.output
    assert "no.jpg" in long.output


def test_models_are_listed_with_and_without_the_word() -> None:
    plain, worded = run(app, ["models"]), run(app, ["models", "list"])
    assert plain.exit_code == worded.exit_code == 0
    assert plain.output == worded.output
    assert "house" in plain.output


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_every_method_are_listed_with_their_ranges(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = run(app, ["settings", name])
    assert result.exit_code == 0
    assert "steps" in result.output
    assert "from 1 to 1000" in result.output


def test_settings_of_an_unknown_method_are_refused() -> None:
    result = run(app, ["settings", "magic"])
    assert result.exit_code == 2
    assert "Unknown method 'magic'" in result.output


def shown(monkeypatch: pytest.MonkeyPatch, tty: bool, verbose: bool) -> str:
    """What a loop of three steps writes."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=tty, width=80)
    monkeypatch.setattr(terminal, "console", console)
    progress = TerminalProgress(verbose)
    for step in progress.track(
        [0, 1, 2], "a very long name of a loop, much longer than what is left of eighty columns"
    ):
        progress.note(loss=float(step))
    return file.getvalue()


def test_without_a_terminal_a_loop_is_one_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, tty=False, verbose=False)
    assert text.endswith("columns: 3 steps\n")
    assert "\x1b" not in text


def test_bars_fit_eighty_columns_and_show_losses_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, verbose = (shown(monkeypatch, True, asked) for asked in (False, True))
    assert "/3" in quiet
    assert "loss" not in quiet
    assert "loss" in verbose


@pytest.mark.parametrize(
    ("styles", "sentence"),
    [(("a.png", "a.png"), "a.png is named twice: name it once."), (("a.png=0.5", "b.png"), "b.png has no weight")],
)
def test_styles_named_twice_or_half_weighted_are_refused(styles: tuple[str, str], sentence: str) -> None:
    result = run(app, ["stylize", "x.png", "-s", styles[0], "-s", styles[1], "-o", "out"])
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
