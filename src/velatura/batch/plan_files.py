"""The rows that a user gives: a CSV, JSON lines or Parquet file, or contents and styles, each in each; as a stream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from velatura.batch.place import absolute, file_system, reason
from velatura.errors import PictureError, SettingError

Record = dict[str, Any]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif")
GLOB = set("*?[")


class _PlanFileError(ValueError):
    """What is wrong with a plan's file, and what to do, without the file's name."""


def records_of(url: str) -> Iterator[Record]:
    """The rows of a plan file as they stand there, without empty cells. Raises SettingError for one of another kind,
    one without rows, or one that cannot be read.
    """
    reader = READERS.get(url[url.rfind(".") :].lower())
    if reader is None:
        raise SettingError(f"{url} is no plan: give a file that ends in {', '.join(READERS)}.")
    system, path = file_system(url)
    empty = True
    try:
        with system.open(path, "rb") as file:
            for record in reader(file):
                empty = False
                yield {name: value for name, value in record.items() if value is not None and value != ""}
    except FileNotFoundError:
        raise SettingError(f"There is no plan {url}: check the name.") from None
    except _PlanFileError as fault:
        raise SettingError(f"The plan {url}: {fault}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"The plan {url} is no text in UTF-8: save it as such.") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"The plan {url} cannot be read ({reason(error)}): check it.") from None
    if empty:
        raise SettingError(f"The plan {url} has no rows: give it one for each result.")


def _of_csv(file: Any) -> Iterator[Record]:
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
    try:
        _check_names(reader.fieldnames or ())
        for record in reader:
            if None in record or None in record.values():
                raise _PlanFileError(f"line {reader.line_num} has not as many cells as the first: correct it")
            yield record
    except csv.Error:
        raise _PlanFileError(f"line {reader.line_num} is no CSV: correct it") from None


def _of_json_lines(file: Any) -> Iterator[Record]:
    for number, line in enumerate(io.TextIOWrapper(file, "utf-8"), 1):
        if line.strip():
            try:
                record = json.loads(line, object_pairs_hook=_object)
            except _PlanFileError as fault:
                raise _PlanFileError(f"line {number}: {fault}") from None
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise _PlanFileError(f'line {number} is no JSON object: write it as {{"content": "…", "style": "…"}}')
            yield record


def _of_parquet(file: Any) -> Iterator[Record]:
    try:
        table = pq.ParquetFile(file)
        _check_names(table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError):
        raise _PlanFileError("it is no Parquet file, or is damaged: write it again") from None


def _object(pairs: list[tuple[str, Any]]) -> Record:
    _check_names([name for name, _ in pairs])
    return dict(pairs)


def _check_names(names: Sequence[str]) -> None:
    """Raise _PlanFileError for a column that is there twice, of which one would be lost."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _PlanFileError(f"the column {twice} is there twice: leave one out")


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

    Raises PictureError for a folder or a pattern without any, and for a file that is not there.
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
            return [url] if system.exists(path) else []
    except Exception as error:  # each store's client has errors of its own
        raise PictureError(f"{url} cannot be listed ({reason(error)}): check its name and permissions.") from None
    pictures = sorted(str(name) for name in names if str(name).lower().endswith(SUFFIXES))
    return [system.unstrip_protocol(name) if "://" in url else name for name in pictures]
