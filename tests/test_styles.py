"""Style files and the library: round trips, names that must not leave the folder, damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from velatura.errors import StyleError
from velatura.style import Style, StyleLibrary


def style(name: str = "waves") -> Style:
    return Style(name, "guided", "house", "abc", {"a": torch.arange(6.0).reshape(2, 3).T}, {"sha256": "1", "é": [1]})


def test_a_style_comes_back_as_it_was(tmp_path: Path) -> None:
    style().save(tmp_path / "s.safetensors")
    loaded = Style.load(tmp_path / "s.safetensors")
    assert (loaded.name, loaded.method, loaded.model, loaded.fingerprint) == ("waves", "guided", "house", "abc")
    assert torch.equal(loaded.tensors["a"], style().tensors["a"]) and loaded.card == style().card


def test_the_library_keeps_lists_and_removes(tmp_path: Path) -> None:
    library = StyleLibrary(tmp_path / "styles")
    assert library.names() == []
    library.add(style("b"))
    library.add(style("a 1"))
    assert library.names() == ["a 1", "b"] and library.has("b") and library.load("b").name == "b"
    with pytest.raises(StyleError, match="already"):
        library.add(style("b"))
    library.add(style("b"), replace=True)
    library.remove("b")
    with pytest.raises(StyleError, match=r"no style 'b' \(styles: a 1\)"):
        library.load("b")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a\\b", "x" * 100, "a..b", "nul\0"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    library = StyleLibrary(tmp_path)
    with pytest.raises(StyleError, match="cannot be a style's name"):
        library.add(style(name))
    assert not library.has(name) and not list(tmp_path.parent.glob("evil*"))


def test_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    style().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StyleError, match="damaged"):
        Style.load(path)
    path.write_bytes(b"\x80\x04 not safetensors")
    with pytest.raises(StyleError, match="damaged"):
        Style.load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(StyleError, match="not a style"):
        Style.load(path)
    with pytest.raises(StyleError, match="no style file"):
        Style.load(tmp_path / "none.safetensors")
