"""The style library as a server offers it: thumbnails, renaming, removal with undo, mixing, files in and out."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from velatura.errors import StyleError
from velatura.registry import method_class
from velatura.service.database import RemovedStyleRow, Sessions
from velatura.service.files import jpeg
from velatura.service.jobs import MissingError
from velatura.style import Style, StyleLibrary
from velatura.style.mixing import parts_of
from velatura.style.pictures import pictures_of
from velatura.whole_file import whole_file

THUMBNAIL = 256  # longer side, in pixels
MOST_REMOVED = 50  # removed styles that can be brought back


class StyleView(BaseModel):
    """A style of the library: what it was fitted to, and the curve of its fit as pairs of step and loss."""

    model_config = ConfigDict(frozen=True)

    name: str
    method: str = ""
    model: str = ""
    picture: str = ""
    damaged: bool = False
    has_thumbnail: bool = False
    curve: list[tuple[float, float]] = []


class StyleShelf:
    """A library of styles with undo; the removed ones are kept in the data folder."""

    def __init__(self, library: StyleLibrary, data: Path, sessions: Sessions) -> None:
        self._library, self._sessions = library, sessions
        self._removed, self._unpacked = data / "removed-styles", data / "unpacked"
        self._lock = threading.RLock()
        self._seen: dict[tuple[str, int, int], tuple[StyleView, bytes]] = {}

    def all(self) -> list[StyleView]:
        """Every style, damaged ones too, by name."""
        return [self._shown(name)[0] for name in self._library.names()]

    def get(self, name: str) -> StyleView:
        """One style. Raises MissingError."""
        self._check(name)
        return self._shown(name)[0]

    def thumbnail(self, name: str) -> bytes:
        """The style's picture as a small JPEG. Raises MissingError where it has none."""
        self._check(name)
        small = self._shown(name)[1]
        if not small:
            raise MissingError("This style has no picture: it was made of words, imported without one, or is damaged.")
        return small

    def rename(self, name: str, new: str) -> StyleView:
        """Give a style another name. Raises MissingError, and StyleError for a name that is taken or cannot be one."""
        with self._lock:
            self._check(name)
            self._check_free(new)
            self._library.path(name).rename(self._library.path(new))
        return self.get(new)

    def remove(self, name: str) -> str:
        """Take a style out of the library; what ``restore`` brings it back by. Raises MissingError."""
        with self._lock:
            self._check(name)
            token = uuid.uuid4().hex
            self._removed.mkdir(parents=True, exist_ok=True)
            # Copied first: the library may lie on another disk, and a crash between leaves it twice, not lost.
            with whole_file(self._kept(token)) as unfinished:
                unfinished.write_bytes(self._library.path(name).read_bytes())
            with self._sessions.begin() as session:
                session.add(RemovedStyleRow(id=token, name=name, removed=time.time()))
            self._library.remove(name)
            self._forget_oldest()
        return token

    def restore(self, token: str) -> StyleView:
        """Bring a removed style back. Raises MissingError, and StyleError where its name is taken by now."""
        with self._lock:
            with self._sessions.begin() as session:
                row = session.get(RemovedStyleRow, token)
                if row is None or not self._kept(row.id).is_file():
                    raise MissingError("There is no such removed style: it may have been brought back already.")
                target = self._library.path(row.name)
                if target.exists():
                    raise StyleError(f"There is a style '{row.name}' by now: rename that one first.")
                with whole_file(target) as unfinished:
                    unfinished.write_bytes(self._kept(row.id).read_bytes())
                session.delete(row)
            self._kept(token).unlink(missing_ok=True)
        return self.get(row.name)

    def mix(self, name: str, shares: Sequence[tuple[str, float]]) -> StyleView:
        """Keep a mix of styles with weights as a style. Raises MissingError, StyleError, SettingError."""
        styles = [(self._load(each), weight) for each, weight in shares]
        mixed = method_class(styles[0][0].method)().mix(styles)
        with self._lock:
            self._check_free(name)
            self._library.add(replace(mixed, name=name))
        return self.get(name)

    def exported(self, name: str) -> bytes:
        """A style's file. Raises MissingError."""
        self._check(name)
        return self._library.path(name).read_bytes()

    def imported(self, data: bytes, name: str = "", replace_existing: bool = False) -> StyleView:
        """Add a style's file, under its own name or another. Raises StyleError for anything else, and a taken name."""
        file = self._unpacked / f"{uuid.uuid4().hex}.safetensors"
        try:
            with whole_file(file) as unfinished:
                unfinished.write_bytes(data)
            style = Style.load(file)
        except StyleError:
            raise StyleError("This is no style of this program, or a damaged one: export it again.") from None
        finally:
            file.unlink(missing_ok=True)
        style = replace(style, name=name or style.name)
        with self._lock:
            if not replace_existing:
                self._check_free(style.name)
            self._library.add(style, replace=replace_existing)
        return self.get(style.name)

    def _check(self, name: str) -> None:
        if not self._library.has(name):
            raise MissingError("There is no style of that name.")

    def _check_free(self, name: str) -> None:
        """Raise StyleError for a name that is taken or cannot be one."""
        if self._library.path(name).exists():
            raise StyleError(f"There is a style '{name}' already: choose another name.")

    def _load(self, name: str) -> Style:
        self._check(name)
        return self._library.load(name)

    def _kept(self, token: str) -> Path:
        return self._removed / f"{token}.safetensors"

    def _forget_oldest(self) -> None:
        with self._sessions.begin() as session:
            query = select(RemovedStyleRow).order_by(RemovedStyleRow.removed.desc()).offset(MOST_REMOVED)
            for row in session.scalars(query):
                self._kept(row.id).unlink(missing_ok=True)
                session.delete(row)

    def _shown(self, name: str) -> tuple[StyleView, bytes]:
        """A style and its thumbnail, read once for each state of its file."""
        try:
            state = self._library.path(name).stat()
        except OSError:  # removed a moment ago
            return StyleView(name=name, damaged=True), b""
        key = (name, state.st_mtime_ns, state.st_size)
        if key not in self._seen:
            self._seen = {other: shown for other, shown in self._seen.items() if other[0] != name}
            self._seen[key] = self._read(name)
        return self._seen[key]

    def _read(self, name: str) -> tuple[StyleView, bytes]:
        try:
            style = self._library.load(name)
        except StyleError:
            return StyleView(name=name, damaged=True), b""
        pictures = [image for part, _ in parts_of(style) for image, _ in pictures_of(part)]
        small = jpeg(pictures[0], THUMBNAIL) if pictures else b""
        card: dict[str, Any] = dict(style.card)
        view = StyleView(
            name=name,
            method=style.method,
            model=style.model,
            picture=str(card.get("picture", "")),
            has_thumbnail=bool(small),
            curve=[(float(step), float(loss)) for step, loss in card.get("loss") or []],
        )
        return view, small
