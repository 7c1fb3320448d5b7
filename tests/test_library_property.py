"""The style library under any sequence of commands and kills: every style is whole or absent."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from velatura.app.styles_commands import list_styles
from velatura.errors import StyleError
from velatura.style import Style, StyleLibrary

resource = pytest.importorskip("resource")  # not on Windows, where processes cannot be forked and killed either
NAMES = st.sampled_from(["a", "b", "c 1"])
FITS = st.integers(0, 3)
AUDITED = ("open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir")  # file system calls


def fitted(name: str, fit: int) -> Style:
    """A stub of a fit; every ``fit`` gives another style, of another size."""
    tensors = {"word": torch.full((1, 1 + fit, 64), float(fit)), "start.abars": torch.arange(500.0 * (1 + fit))}
    return Style(name, "s2prest", "house", "abc", tensors, {"picture": f"{fit}.jpg", "loss": [[0, 0.5]]})


def _same(one: Style, other: Style) -> bool:
    return one.identity == other.identity and one.card == other.card and one.name == other.name


def killed(work: Callable[[], object], event: int, most_bytes: int) -> None:
    """Do ``work`` in a process of its own that is killed at the ``event``-th file system call, or in the middle of a
    write, after ``most_bytes`` bytes; or that ends by itself before.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def die(name: str, _: object) -> None:
            nonlocal count
            count += name in AUDITED
            if count > event:
                os._exit(9)

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        sys.addaudithook(die)
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


class LibraryMachine(RuleBasedStateMachine):
    """What a user does to a library; ``expected`` holds the styles that must be there, by name."""

    @initialize()
    def open(self) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.home = Path(self.temporary.name)
        os.environ["VELATURA_HOME"] = str(self.home)
        self.library = StyleLibrary(self.home / "styles")
        self.expected: dict[str, Style] = {}

    def teardown(self) -> None:
        self.temporary.cleanup()

    @rule(name=NAMES, fit=FITS, force=st.booleans())
    def fit(self, name: str, fit: int, force: bool) -> None:
        self._add(fitted(name, fit), force)

    def _add(self, style: Style, force: bool) -> None:
        if style.name in self.expected and not force:
            with pytest.raises(StyleError, match="already"):
                self.library.add(style)
            return
        self.library.add(style, replace=force)
        self.expected[style.name] = style

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if name in self.expected:
            self.library.remove(name)
            del self.expected[name]
        else:
            with pytest.raises(StyleError, match="no style"):
                self.library.remove(name)

    @rule(name=NAMES, other=NAMES, force=st.booleans())
    def export_and_import(self, name: str, other: str, force: bool) -> None:
        if name not in self.expected:
            return
        file = self.home / "exported.safetensors"
        self.library.load(name).save(file)
        loaded = Style.load(file)
        self._add(Style(other, loaded.method, loaded.model, loaded.fingerprint, loaded.tensors, loaded.card), force)

    @rule(name=NAMES, fit=FITS, event=st.integers(0, 12), most_bytes=st.integers(0, 12_000))
    def killed_in_a_fit(self, name: str, fit: int, event: int, most_bytes: int) -> None:
        style = fitted(name, fit)
        killed(lambda: self.library.add(style, replace=True), event, most_bytes)
        self._either(name, style)

    @rule(name=NAMES, event=st.integers(0, 8))
    def killed_in_a_removal(self, name: str, event: int) -> None:
        killed(lambda: self.library.remove(name), event, 0)
        self._either(name, None)

    def _either(self, name: str, after: Style | None) -> None:
        """The style ``name`` is what it was, or what it was to become; nothing else."""
        found = self.library.load(name) if self.library.has(name) else None
        before = self.expected.pop(name, None)
        allowed = [style for style in (before, after) if style is not None]
        if found is None:
            assert before is None or after is None
        else:
            assert any(_same(found, style) for style in allowed)
            self.expected[name] = found

    @invariant()
    def every_style_is_whole_and_the_list_never_fails(self) -> None:
        if not hasattr(self, "library"):
            return
        assert self.library.names() == sorted(self.expected)
        for name, style in self.expected.items():
            assert _same(self.library.load(name), style)
        list_styles()


LibraryMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestLibrary = LibraryMachine.TestCase
