"""The data folder: uploaded pictures by their SHA-256, files of results by job. No name of a user's is a path."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict

from velatura.methods.base import Stylization
from velatura.picture import Picture, save_picture
from velatura.picture.reading import picture_of_bytes
from velatura.picture.writing import replacing
from velatura.service.database import PictureRow, Sessions
from velatura.service.jobs import MissingError

DIGEST, JOB_ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
RESULT, MANIFEST = "picture.png", "manifest.json"
SMALL = 384  # longer side of a small picture, in pixels
LONGEST_NAME = 80


class StoredPicture(BaseModel):
    """An uploaded picture."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    name: str
    width: int
    height: int


class PictureStore:
    """Uploaded pictures, kept as they came under the SHA-256 of their bytes."""

    def __init__(self, folder: Path, sessions: Sessions, max_pixels: int) -> None:
        self._folder, self._sessions, self._max_pixels = folder, sessions, max_pixels

    def add(self, data: bytes, name: str = "picture") -> StoredPicture:
        """Keep a picture, which is opened first. ``name`` is shown only. Raises PictureError for what is none."""
        name = shown_name(name)
        picture = picture_of_bytes(data, name, self._max_pixels)
        path = self._path(picture.digest)
        if not path.exists():
            with replacing(path) as unfinished:
                unfinished.write_bytes(data)
        row = PictureRow(
            id=picture.digest,
            name=name,
            width=picture.size[0],
            height=picture.size[1],
            created=time.time(),
        )
        with self._sessions.begin() as session:
            session.merge(row)
        return StoredPicture.model_validate(row)

    def get(self, picture_id: str) -> StoredPicture:
        """What is known of a picture. Raises MissingError."""
        with self._sessions() as session:
            row = session.get(PictureRow, picture_id) if DIGEST.fullmatch(picture_id) else None
        if row is None or not self._path(row.id).is_file():
            raise MissingError("There is no such picture: upload it first.")
        return StoredPicture.model_validate(row)

    def has(self, picture_id: str) -> bool:
        """Whether there is such a picture."""
        return bool(DIGEST.fullmatch(picture_id)) and self._path(picture_id).is_file()

    def open(self, picture_id: str) -> Picture:
        """A picture as the methods take it. Raises MissingError."""
        found = self.get(picture_id)
        return picture_of_bytes(self._path(found.id).read_bytes(), found.name, self._max_pixels)

    def small(self, picture_id: str) -> bytes:
        """A picture as a small JPEG. Raises MissingError."""
        return jpeg(self.open(picture_id).image, SMALL)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


class ResultStore:
    """The files of results: a folder for each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, job_id: str, result: Stylization) -> dict[str, str]:
        """Write a result's files, each whole or not at all; the files of its layers by name."""
        folder = self.folder(job_id)
        layers = {name: f"layer-{number}.png" for number, name in enumerate(result.layers)}
        for name, file in layers.items():
            save_picture(result.layers[name].convert("RGB"), folder / file, {"layer": name})
        with replacing(folder / MANIFEST) as unfinished:
            unfinished.write_text(json.dumps(result.manifest, indent=2))
        save_picture(result.picture, folder / RESULT, result.manifest, result.alpha)
        return layers

    def path(self, job_id: str, file: str = RESULT) -> Path:
        """Where a file of a result is; ``file`` is one of ours. Raises MissingError."""
        path = self.folder(job_id) / file
        if not path.is_file():
            raise MissingError("There is no such file of this job: it has no result, or another kind of it.")
        return path

    def manifest(self, job_id: str) -> dict[str, Any]:
        """How a result was made. Raises MissingError."""
        read: dict[str, Any] = json.loads(self.path(job_id, MANIFEST).read_text())
        return read

    def small(self, job_id: str) -> bytes:
        """The result as a small JPEG. Raises MissingError."""
        with Image.open(self.path(job_id)) as opened:
            return jpeg(opened, SMALL)

    def delete(self, job_id: str) -> None:
        """Delete a job's files, if it has any."""
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def folder(self, job_id: str) -> Path:
        """Where a job's files are, if it has any. Raises MissingError for what is no job's id."""
        if not JOB_ID.fullmatch(job_id):
            raise MissingError("There is no such job.")
        return self._folder / job_id[:2] / job_id


def jpeg(image: Image.Image, longest: int, quality: int = 82) -> bytes:
    """An image as JPEG of at most ``longest`` pixels a side."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def shown_name(name: str) -> str:
    """A client's file name as it may be shown and kept in manifests: its stem, without anything that is no letter."""
    stem = re.split(r"[\\/]", name)[-1].rpartition(".")[0] or re.split(r"[\\/]", name)[-1]
    return re.sub(r"[^\w .()+-]", "", stem).strip(" .")[:LONGEST_NAME] or "picture"


def without_paths(text: str) -> str:
    """A sentence without the server's folders: of an absolute path its name is left."""
    return re.sub(r"(?<![\w:/.<])/(?:[^/\s'\"<>]+/)+", "", text)
