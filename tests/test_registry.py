"""The registry: every name loads and declares what it can do, and no other module lists or compares method names."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import velatura
from velatura.errors import SettingError
from velatura.methods.base import Method
from velatura.registry import (
    METHODS,
    NAMES,
    REPRODUCTION_OF,
    REPRODUCTIONS,
    method_class,
    methods_with,
    preset_settings,
)

SOURCE = Path(velatura.__file__).parent


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_frozen_dataclass_that_declares_what_it_can_do(name: str) -> None:
    cls = method_class(name)
    assert issubclass(cls, Method) and dataclasses.is_dataclass(cls) and not inspect.isabstract(cls)
    settings = cls()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.steps = 1  # type: ignore[attr-defined]
    assert cls.name == name and cls.style_method in NAMES
    assert cls.regions in (True, False) and cls.text_styles in (True, False)
    assert cls.batch >= 1 and cls.layout in ("flat", "paper")
    known = {field.name for field in dataclasses.fields(cls)}
    assert "compat" not in known and not set(cls.renamed) & known and set(cls.renamed.values()) <= known
    assert set(cls.renamed_values) <= known
    for preset in cls.presets:
        cls(**preset_settings(name, preset))
    assert set(settings.fit_settings) <= known
    assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")  # its own, not the dataclass's signature


def test_methods_and_reproductions_are_told_apart() -> None:
    assert not set(METHODS) & set(REPRODUCTIONS)
    assert set(REPRODUCTION_OF) <= set(METHODS) and set(REPRODUCTION_OF.values()) == set(REPRODUCTIONS)
    for method, reproduction in REPRODUCTION_OF.items():
        assert method_class(reproduction).style_method == method_class(method).style_method
    assert all(METHODS[name].startswith("velatura.methods.") for name in METHODS)
    assert all(REPRODUCTIONS[name].startswith("velatura.reproductions.") for name in REPRODUCTIONS)


def test_unknown_names_are_one_sentence_that_lists_the_known() -> None:
    with pytest.raises(SettingError, match="Unknown method 'x': use guided, s2prest"):
        method_class("x")
    with pytest.raises(SettingError, match="Unknown preset 'x': use "):
        preset_settings("guided", "x")
    with pytest.raises(SettingError, match="has no presets: those with some are guided"):
        preset_settings("s2prest-original", "poster")
    assert "guided" in methods_with("regions") and "s2prest" not in methods_with("regions")


def test_the_registry_imports_no_method_before_it_is_asked_for() -> None:
    code = "import sys, velatura.registry; assert not [m for m in sys.modules if m.startswith('velatura.methods')]"
    subprocess.run([sys.executable, "-c", code], check=True)


def offences(source: str) -> Iterator[str]:
    """Expressions that list several method names, and comparisons with one."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.expr):
            continue
        constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
        named = {value for value in constants if isinstance(value, str) and value in NAMES}
        if len(named) > 1 or (named and isinstance(node, ast.Compare)):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_other_module_lists_or_compares_method_names() -> None:
    assert list(offences("options = {'guided': 1, 'inst': 2}")) and list(offences("if method == 'inst': pass"))
    assert list(offences("x = 1 if name in ('s2prest', 'inst') else 0"))
    assert not list(offences("def f(method='guided'): return g(method)"))
    found = {
        str(path.relative_to(SOURCE)): wrong
        for path in SOURCE.rglob("*.py")
        if path.name != "registry.py" and (wrong := list(offences(path.read_text())))
    }
    assert not found
