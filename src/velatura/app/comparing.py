"""Blind comparisons: results of two folders side by side on sides drawn at random, and the choices counted."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from velatura.app.files import find_contents
from velatura.errors import PictureError, SettingError

FORMAT = "velatura-choices-1"
LEFT, RIGHT, TIE = "left", "right", "tie"


@dataclass(frozen=True)
class Key:
    """What a page does not show: the seed that drew order and sides, and the names of the two folders.

    It is stored as base64, so that nobody reads it by accident; whoever wants to can.
    """

    seed: int
    first: str
    second: str
    pairs: tuple[str, ...]

    def encoded(self) -> str:
        """The key as a text."""
        return base64.b64encode(json.dumps(asdict(self)).encode()).decode("ascii")

    @staticmethod
    def decoded(text: str) -> Key:
        """The key of a text. Raises ValueError for any other text."""
        try:
            entries = json.loads(base64.b64decode(text, validate=True))
            names = (str(entries["first"]), str(entries["second"]))
            return Key(int(entries["seed"]), *names, tuple(str(pair) for pair in entries["pairs"]))
        except (ValueError, KeyError, TypeError):
            raise ValueError("its key is damaged") from None

    def order(self) -> list[int]:
        """The pairs' numbers in the order in which they are shown."""
        return random.Random(f"order {self.seed}").sample(range(len(self.pairs)), len(self.pairs))

    def first_is_left(self, number: int) -> bool:
        """Whether the first folder's picture of a pair is on the left."""
        return random.Random(f"side {self.seed} {self.pairs[number]}").random() < 0.5


def result_pairs(first: Path, second: Path) -> dict[str, tuple[Path, Path]]:
    """The pictures of one name in two folders, subfolders too, by that name; two files are one pair.

    Raises PictureError where there is none.
    """
    if first.is_file() and second.is_file():
        return {first.stem: (first, second)}
    for folder in (first, second):
        if not folder.is_dir():
            raise PictureError(f"{folder} is no folder: compare two folders with results, or two pictures.")
    ours, theirs = _by_name(first), _by_name(second)
    pairs = {name: (path, theirs[name]) for name, path in ours.items() if name in theirs}
    if not pairs:
        raise PictureError(f"{first} and {second} have no pictures of the same names.")
    return pairs


def _by_name(folder: Path) -> dict[str, Path]:
    """A folder's pictures by their paths in it without endings; of two alike the first."""
    found: dict[str, Path] = {}
    for content in find_contents([folder], recursive=True):
        found.setdefault((content.subfolder / content.path.stem).as_posix(), content.path)
    return found


def folder_names(first: Path, second: Path) -> tuple[str, str]:
    """Two different names for two folders, as short as they can be: from where their paths part."""
    ours, theirs = (Path(os.path.realpath(path)) for path in (first, second))
    if ours == theirs:
        raise PictureError(f"{first} is compared with itself: name two folders.")
    if ours.name != theirs.name:
        return ours.name, theirs.name
    shared = Path(os.path.commonpath([ours, theirs]))
    return ours.relative_to(shared).as_posix(), theirs.relative_to(shared).as_posix()


def read_choices(path: Path) -> tuple[Key, list[tuple[str, str]]]:
    """A page's key, and the choices made on it: pairs with "left", "right" or "tie".

    Raises SettingError for a file that no page wrote.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise SettingError(f"There is no file {path}: check the name.") from None
    except ValueError:
        raise SettingError(f"{path} holds no choices of a page of 'velatura compare' (it is no JSON).") from None
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror or error}): name another file.") from None
    try:
        if not isinstance(found, Mapping) or found.get("format") != FORMAT:
            raise ValueError("it has another format")
        key = Key.decoded(str(found["key"]))
        choices = [(str(each["pair"]), str(each["choice"])) for each in found["choices"]]
    except (KeyError, TypeError):
        raise SettingError(
            f"{path} holds no choices of a page of 'velatura compare' (parts of it are missing)."
        ) from None
    except ValueError as error:
        raise SettingError(f"{path} holds no choices of a page of 'velatura compare' ({error}).") from None
    wrong = [pair for pair, choice in choices if pair not in key.pairs or choice not in (LEFT, RIGHT, TIE)]
    if wrong:
        raise SettingError(f"{path} holds no choices of a page of 'velatura compare' (the pair {wrong[0]} is unknown).")
    return key, choices


def counted(results: Sequence[tuple[Key, Sequence[tuple[str, str]]]]) -> dict[tuple[str, str], float]:
    """How often each was preferred to which other, a tie as half for each."""
    wins: defaultdict[tuple[str, str], float] = defaultdict(float)
    for key, choices in results:
        for pair, choice in choices:
            names = (key.first, key.second) if key.first_is_left(key.pairs.index(pair)) else (key.second, key.first)
            share: float = {LEFT: 1.0, RIGHT: 0.0, TIE: 0.5}[choice]
            wins[names] += share
            wins[names[::-1]] += 1 - share
    return dict(wins)


def counted_once(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files without those whose content another before them has, and those. Raises what reading them does."""
    first: dict[str, Path] = {}
    again: list[Path] = []
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if first.setdefault(digest, file) is not file:
            again.append(file)
    return list(first.values()), again
