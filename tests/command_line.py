"""The program as it is called in a shell, for tests of its commands."""

from __future__ import annotations

import sys

import pytest

from velatura.app.cli import main

# Four steps of a model in 64 pixels, alike on every machine; --model is the test's own.
FAST = ("--steps", 4, "--strength", 0.5, "--size", 64, "--device", "cpu", "--dtype", "fp32")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of ``velatura ARGUMENTS``, run in this process."""
    monkeypatch.setattr(sys, "argv", ["velatura", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
