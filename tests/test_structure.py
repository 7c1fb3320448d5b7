"""The limits that keep the code readable: length of files and of functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "velatura"
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 300, 50
# A command's parameters are its options, each with its help text.
COMMANDS = "app/"


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> int:
    """Lines of a function; of a command's, those of its body."""
    first = function.body[0].lineno if str(path.relative_to(SOURCE)).startswith(COMMANDS) else function.lineno
    return (function.end_lineno or first) - first + 1


def test_no_file_is_longer_than_can_be_read_in_a_sitting() -> None:
    found = files()
    assert len(found) > 50
    long = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in found}
    assert {name: count for name, count in long.items() if count > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path.relative_to(SOURCE)}:{function.name}": lines_of(function, path)
        for path in files()
        for function in functions(path)
    }
    assert len(long) > 300
    assert {name: count for name, count in long.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_every_public_name_says_what_it_is() -> None:
    bare = []
    for path in files():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):  # type: ignore[arg-type]
                bare.append(f"{path.relative_to(SOURCE)}:{node.name}")  # type: ignore[attr-defined]
    assert bare == []
