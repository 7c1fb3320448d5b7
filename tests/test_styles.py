"""Style files and the library: round trips, names that must not leave the folder, damage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tests.conftest import full_disk
from velatura.app.styles_commands import list_styles
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


def hostile(path: Path, card: object = None, fields: object = None, **tensors: torch.Tensor) -> Path:
    """A file as somebody else's program might write it: without checksum."""
    from safetensors.torch import save_file

    header = {
        "name": "a",
        "method": "guided",
        "model": "house",
        "fingerprint": "",
        "card": {} if card is None else card,
    }
    text = json.dumps(header if fields is None else fields)
    save_file(tensors, path, {"format": "velatura-style-1", "style": text})
    return path


HOSTILE: dict[str, dict[str, object]] = {
    "not finite": {"word": torch.full((1, 1, 4), float("nan"))},
    "infinite": {"anything": torch.tensor([1.0, float("inf")])},
    "whole numbers": {"word": torch.ones(1, 1, 4, dtype=torch.int64)},
    "a flat word": {"word": torch.ones(4)},
    "unlike lengths": {"word.weight": torch.ones(1, 4, 8), "word.bias": torch.ones(1, 5)},
    "an embedding of another width": {"word.weight": torch.ones(1, 4, 8), "embedding": torch.ones(1, 9)},
    "a picture of floats": {"picture.00": torch.ones(3, 4, 4)},
    "a picture without colour": {"picture.00": torch.ones(4, 4, dtype=torch.uint8)},
    "an empty picture": {"picture.00": torch.ones(3, 0, 4, dtype=torch.uint8)},
    "an uneven Gram matrix": {"gram.relu1": torch.ones(1, 3, 4)},
    "a card that is a list": {"card": [1]},
    "a picture's name that is a number": {"card": {"picture": 7}},
    "a loss that is a word": {"card": {"loss": "low"}},
    "a loss without steps": {"card": {"loss": [[0.1]]}},
    "parts that are numbers": {"card": {"parts": [1, 2]}},
    "a part with a wrong card": {"card": {"parts": [{"name": "a", "share": 1, "card": {"loss": 1}}]}},
    "shares without pictures": {"card": {"shares": [0.5, 0.5]}},
    "a number that is none": {"card": {"settings": {"x": float("nan")}}},
    "a header that is a list": {"fields": [1, 2]},
    "a header with more": {"fields": {"name": "a", "method": "", "model": "", "fingerprint": "", "card": {}, "x": 1}},
    "a name that is a number": {"fields": {"name": 1, "method": "", "model": "", "fingerprint": "", "card": {}}},
    "a model that obeys": {"fields": {"name": "a", "method": "", "model": "\33[2J", "fingerprint": "", "card": {}}},
    "a deep card": {"fields": json.loads("[" * 900 + "]" * 900)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_fit_makes_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    path = hostile(tmp_path / "a.safetensors", **HOSTILE[case])  # type: ignore[arg-type]
    with pytest.raises(StyleError, match="is damaged") as refusal:
        Style.load(path)
    assert "\n" not in str(refusal.value) and str(refusal.value).isprintable()


def test_a_style_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    picture = torch.zeros(3, 4, 5, dtype=torch.uint8)
    path = hostile(tmp_path / "a.safetensors", {"picture": "x", "loss": [[0, 1.0]]}, **{"picture.00": picture})
    assert torch.equal(Style.load(path).tensors["picture.00"], picture)


def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    style().save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            found = Style.load(path)
        except StyleError:
            continue
        assert found.identity == style().identity and found.card == style().card, place


def test_a_diverged_fit_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    style().save(path)
    whole = path.read_bytes()
    for diverged in (
        Style("a", "s2prest", "house", "", {"word": torch.full((1, 1, 4), float("nan"))}, {}),
        Style("a", "s2prest", "house", "", {}, {"loss": [[0, float("nan")]]}),
    ):
        with pytest.raises(StyleError, match="cannot be kept"):
            diverged.save(path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_style_that_was_there(tmp_path: Path) -> None:
    library = StyleLibrary(tmp_path)
    library.add(style())
    with full_disk(after=200), pytest.raises(StyleError, match="cannot be written"):
        library.add(style(), replace=True)
    assert library.load("waves").identity == style().identity and len(list(tmp_path.iterdir())) == 1


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path / "pipe.safetensors", Path("/dev/zero"), tmp_path):
        with pytest.raises(StyleError, match="no style file"):
            Style.load(path)


def test_a_name_in_a_file_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    library = StyleLibrary(tmp_path / "styles")
    evil = tmp_path / "evil.safetensors"
    style("../../x").save(evil)
    with pytest.raises(StyleError, match="cannot be a style's name"):
        library.add(Style.load(evil))
    library.path("evil").parent.mkdir()
    evil.rename(library.path("evil"))
    assert library.names() == ["evil"] and library.load("evil").name == "evil"
    library.remove("evil")
    assert library.names() == []


def test_names_longer_than_a_files_are_refused(tmp_path: Path) -> None:
    name = "\U00020000" * 70  # 280 bytes
    assert not StyleLibrary(tmp_path).has(name)
    with pytest.raises(StyleError, match="cannot be a style's name"):
        StyleLibrary(tmp_path).add(style(name))


def test_a_damaged_style_is_listed_and_removed(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = StyleLibrary(own_home / "styles")
    library.add(style("whole"))
    library.add(Style("odd", "guided", "house", "", {}, {"picture": "[/x].jpg\33[2J"}))
    library.path("broken").write_bytes(b"damaged")
    library.path("folder").mkdir()
    (library.folder / "[x].safetensors").write_bytes(b"")
    list_styles()
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("whole", "broken", "damaged", "[/x].jpg"))
    assert "\33" not in listed and "folder" not in listed
    with pytest.raises(StyleError, match="damaged"):
        library.load("broken")
    library.remove("broken")
    assert library.names() == ["odd", "whole"]


def test_the_same_style_is_the_same_bytes_whatever_the_library_makes_of_its_metadata(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(20)]
    for file in files:
        style().save(file)
    assert len({file.read_bytes() for file in files}) == 1
    header = files[0].read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert length % 8 == 0
    names = list(json.loads(header[8 : 8 + length])["__metadata__"])
    assert names == sorted(names) and len(names) == 3
