"""Where a command writes: its targets are chosen and checked before anything is computed, so that no file is lost."""

from __future__ import annotations

import os
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePath

from velatura.app.terminal import say
from velatura.errors import TargetError
from velatura.picture.writing import numbered, sidecar_path
from velatura.regions.query import NOT

LONGEST_NAME, LONGEST_PATH = 255, 4096  # bytes, where the system does not say
UNFINISHED_NAME = 48  # bytes of the temporary name beside a target, at most


@dataclass(frozen=True)
class Target:
    """The files of one result, which go together: a picture or another file, its edges, its manifest as JSON."""

    file: Path
    edges: Path | None = None
    with_sidecar: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All paths that are written."""
        edges = () if self.edges is None else (self.edges,)
        return (self.file, *edges, *((sidecar_path(self.file),) if self.with_sidecar else ()))

    def numbered(self, number: int) -> Target:
        """The same with ``number`` in its names; 0 is the target itself."""
        if number == 0:
            return self
        return replace(self, file=numbered(self.file, number), edges=self.edges and numbered(self.edges, number))


def _key(path: Path) -> str:
    """A path as the least discerning file system compares it."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def _keys(target: Target) -> set[str]:
    return {_key(path) for path in target.files}


def _above(keys: Iterable[str]) -> set[str]:
    return {str(folder) for key in keys for folder in PurePath(key).parents}


class Inputs:
    """The files that a command reads, which none of its targets may replace, under any of their names."""

    def __init__(self, paths: Iterable[Path]) -> None:
        found = list(paths)
        self.keys = {_key(path) for path in found}
        self._folders = _above(self.keys)
        self._inodes = {inode for path in found if (inode := _inode(path)) is not None}

    def include(self, path: Path) -> bool:
        """Whether ``path`` is one of the files, or a folder that holds one."""
        key = _key(path)
        return key in self.keys or key in self._folders or _inode(path) in self._inodes


def _inode(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, None where there is none."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


class Plan:
    """The targets of a command's results, all different, in the order of ``wishes``.

    The first of several equal wishes keeps its name, the others, and with ``force`` off those whose files exist, get
    the next free number. ``kept`` are results that are there already and stay. ``notes`` say which wishes met existing
    files. Raises TargetError where a target would replace an input or cannot be written.
    """

    def __init__(
        self, wishes: Sequence[Target], inputs: Inputs, force: bool = False, kept: Sequence[Target] = ()
    ) -> None:
        self._inputs, self._force = inputs, force
        self._files = {key for target in kept for key in _keys(target)}
        self._folders = _above(self._files)
        for path in (path for wish in wishes for path in wish.files):
            _refuse_input(path, inputs)
        for path in _one_of_each_folder(path for wish in wishes for path in wish.files):
            check_writable(path)
        keys = [_key(wish.file) for wish in wishes]
        wished = Counter(keys)
        self._wished = {key for wish in wishes for key in _keys(wish)}
        # Deeper first, so that what becomes a folder does not become a file; names that stand once keep theirs.
        order = sorted(range(len(wishes)), key=lambda index: (-len(wishes[index].file.parts), wished[keys[index]] > 1))
        chosen = {index: self._claim(wishes[index]) for index in order}
        self.targets = [chosen[index] for index in range(len(wishes))]
        for path in (path for target in self.targets for path in target.files):
            _check_length(path)
        self.notes = _notes(wishes, self.targets)

    def _claim(self, wish: Target) -> Target:
        target = next(wish.numbered(number) for number in count() if self._is_free(wish.numbered(number), number))
        self._files |= _keys(target)
        self._folders |= _above(_keys(target))
        return target

    def _is_free(self, target: Target, number: int) -> bool:
        keys = _keys(target)
        taken = self._files | self._folders | (self._wished | self._inputs.keys if number else set())
        return taken.isdisjoint(keys) and not self._is_in_the_way(target)

    def _is_in_the_way(self, target: Target) -> bool:
        """Whether a file of the target exists that may not be replaced."""
        return any(os.path.lexists(path) and not (self._force and not path.is_dir()) for path in target.files)

    def now_free(self, target: Target) -> Target:
        """A planned target; where another program has written there since, the same with the next free number."""
        return self._claim(target) if self._is_in_the_way(target) else target


def _refuse_input(path: Path, inputs: Inputs) -> None:
    if inputs.include(path):
        raise TargetError(f"{path} is an input of this command, or holds one, and would be lost: choose another --out.")


def _one_of_each_folder(paths: Iterable[Path]) -> Iterator[Path]:
    yield from {path.parent: path for path in paths}.values()


def check_writable(path: Path) -> None:
    """Raise TargetError where no file can be made at ``path``, whose folders may be missing yet."""
    _refuse_special(path)
    _check_length(path)
    folder = _existing_folder(path)
    if not folder.is_dir():
        raise TargetError(f"{path} cannot be written ({folder} is no folder): choose another --out.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TargetError(f"{path} cannot be written ({error.strerror or error}): choose another --out.") from None


def _existing_folder(path: Path) -> Path:
    """The nearest thing above ``path`` that exists."""
    return next((folder for folder in path.parents if os.path.lexists(folder)), path.parent)


def _refuse_special(path: Path) -> None:
    """Raise TargetError for devices, pipes and sockets."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise TargetError(f"{path} is no regular file: choose another --out.")


def _check_length(path: Path) -> None:
    """Raise TargetError for a path, or a name in it, that is longer than the file system takes."""
    folder = _existing_folder(path)
    longest_name = _limit(folder, "PC_NAME_MAX", LONGEST_NAME)
    for name in path.parts[len(folder.parts) :]:
        length = len(os.fsencode(name))
        if length > longest_name:
            raise TargetError(
                f"The name {name[:20]}… is {length} bytes long, over the limit of {longest_name}: choose a shorter one "
                "with --out."
            )
    longest = _limit(folder, "PC_PATH_MAX", LONGEST_PATH)
    if len(os.fsencode(path.parent)) + max(len(os.fsencode(path.name)), UNFINISHED_NAME) + 2 > longest:
        raise TargetError(f"The path {str(path)[:40]}… is over the limit of {longest} bytes: choose a shorter --out.")


def _limit(folder: Path, name: str, usual: int) -> int:
    try:
        return os.pathconf(folder, name)
    except (AttributeError, OSError, ValueError):  # Windows has no pathconf
        return usual


def _notes(wishes: Sequence[Target], targets: Sequence[Target]) -> list[str]:
    """A sentence on the results that go elsewhere because of files that exist."""
    moved = [
        (wish.file, target.file)
        for wish, target in zip(wishes, targets, strict=True)
        if wish != target and any(os.path.lexists(path) for path in wish.files)
    ]
    if not moved:
        return []
    wish, target = moved[0]
    if len(moved) == 1:
        return [f"{wish} exists: the result goes to {target} (--force replaces it)."]
    return [
        f"{len(moved)} files exist already: the results get the next free numbers, as {target} for {wish} (--force "
        "replaces them)."
    ]


def one_file(out: Path, inputs: Iterable[Path], force: bool) -> Path:
    """The file that a command with one result writes; says so where that is not ``out``. Raises TargetError."""
    if out.is_dir():
        raise TargetError(f"{out} is a folder: name a file with --out.")
    return _said(Plan([Target(out)], Inputs(inputs), force))


def page_file(out: Path, inputs: Inputs, force: bool) -> Path:
    """The HTML file that a command writes beside its results; says so where that is not ``out``. Raises TargetError."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise TargetError(f"{out} would be an HTML page: name it with .html at its end.")
    return _said(Plan([Target(out)], inputs, force))


def one_folder(out: Path, inputs: Iterable[Path], force: bool) -> Path:
    """The folder that a command fills; says so where that is not ``out``, because it holds something already.

    Raises TargetError.
    """
    found = Inputs(inputs)
    if out.is_dir() and (force or not any(out.iterdir())):
        _refuse_input(out, found)
        check_writable(out / "file")
        return out
    return _said(Plan([Target(out)], found))


def _said(plan: Plan) -> Path:
    for note in plan.notes:
        say(note)
    return plan.targets[0].file


def files_among(texts: Iterable[str | Path]) -> list[Path]:
    """The files that several options' values name; of a mask also the one after ``not:``."""
    named = [name for text in texts for name in (text, str(text).replace(NOT, ""))]
    return [Path(name) for name in dict.fromkeys(named) if _is_file(name)]


def _is_file(text: str | Path) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
