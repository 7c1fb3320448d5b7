"""The rows that a user gives: a CSV, JSON lines or Parquet file, or contents and styles, each in each; as a stream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq

from velatura.batch.place import absolute, file_system
from velatura.errors import PictureError, SettingError

Record = dict[str, Any]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif")
GLOB = set("*?[")


def records_of(url: str) -> Iterator[Record]:
    """The rows of a plan file as they stand there, without empty cells. Raises SettingError for one of another kind,
    or one that cannot be read.
    """
    reader = READERS.get(url[url.rfind(".") :].lower())
    if reader is None:
        raise SettingError(f"{url} is no plan: give a file that ends in {', '.join(READERS)}.")
    system, path = file_system(url)
    try:
        with system.open(path, "rb") as file:
            for record in reader(file):
                yield {name: value for name, value in record.items() if value is not None and value != ""}
    except FileNotFoundError:
        raise SettingError(f"There is no plan {url}: check the name.") from None
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise SettingError(f"The plan {url} cannot be read ({error}): write it anew.") from None


def _of_csv(file: Any) -> Iterator[Record]:
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
    for record in reader:
        if None in record or None in record.values():
            raise ValueError(f"line {reader.line_num} has not as many cells as the first")
        yield record


def _of_json_lines(file: Any) -> Iterator[Record]:
    for number, line in enumerate(io.TextIOWrapper(file, "utf-8"), 1):
        if line.strip():
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is no object")
            yield record


def _of_parquet(file: Any) -> Iterator[Record]:
    for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
        yield from batch.to_pylist()


READERS: dict[str, Callable[[Any], Iterator[Record]]] = {
    ".csv": _of_csv,
    ".jsonl": _of_json_lines,
    ".ndjson": _of_json_lines,
    ".parquet": _of_parquet,
}


def crossed(contents: Sequence[str], styles: Sequence[str], *, styles_first: bool) -> Iterator[Record]:
    """Every content in every style; ``styles_first`` has all contents of a style stand together."""
    pairs = (
        ((content, style) for style in styles for content in contents)
        if styles_first
        else ((content, style) for content in contents for style in styles)
    )
    yield from ({"content": content, "style": style} for content, style in pairs)


def pictures_at(places: Sequence[str]) -> list[str]:
    """Pictures by path or URL, in order, each once: a file, all of a folder, or what matches a pattern with ``*``.

    Raises PictureError for a folder or a pattern without any.
    """
    found: dict[str, None] = {}
    for place in places:
        here = _found(absolute(place))
        if not here:
            raise PictureError(f"There are no pictures at {place}: name a folder, a file or a pattern that has some.")
        found.update(dict.fromkeys(here))
    return list(found)


def _found(url: str) -> list[str]:
    system, path = file_system(url)
    try:
        if GLOB & set(path):
            names = system.glob(path)
        elif system.isdir(path):
            names = system.ls(path, detail=False)
        else:
            return [url]
    except Exception as error:  # each store's client has errors of its own
        raise PictureError(f"{url} cannot be listed ({error}): check its name and permissions.") from None
    pictures = sorted(str(name) for name in names if str(name).lower().endswith(SUFFIXES))
    return [system.unstrip_protocol(name) if "://" in url else name for name in pictures]
