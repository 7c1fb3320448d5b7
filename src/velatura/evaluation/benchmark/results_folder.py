"""Measuring results that are there, whoever made them: found by a pattern of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from velatura.errors import PictureError, SettingError
from velatura.evaluation.benchmark.failing import reason
from velatura.evaluation.benchmark.kept import KeptRows, Row, digests
from velatura.evaluation.benchmark.plan import OpenPair, Pair, described
from velatura.evaluation.measures import scores_of
from velatura.methods.provenance import versions
from velatura.picture import image_to_pixels, open_picture

FIELDS = ("content", "style", "method")


@dataclass(frozen=True)
class NamePattern:
    """Where a result lies in a folder, as "{method}/{content}_{style}.png"; {method} may be left out, and {style} too
    where there is one style.
    """

    text: str

    def check(self, styles: int) -> None:
        """Raise SettingError for a pattern that cannot name the results of pairs with ``styles`` styles."""
        try:
            names = [field for _, field, spec, conversion in Formatter().parse(self.text) if field is not None]
        except ValueError as error:
            raise SettingError(f"The name pattern {self.text} cannot be read ({error}).") from None
        unknown = [name for name in names if name not in FIELDS]
        if unknown:
            raise SettingError(
                f"The name pattern {self.text} has the unknown field {{{unknown[0]}}}: use "
                + ", ".join(f"{{{name}}}" for name in FIELDS)
                + "."
            )
        needed = ("content", "style") if styles > 1 else ("content",)
        missing = [name for name in needed if name not in names]
        if missing:
            raise SettingError(f"The name pattern {self.text} says nothing of {{{missing[0]}}}: add it.")
        if Path(self.text).is_absolute() or ".." in Path(self.text).parts:
            raise SettingError(f"The name pattern {self.text} leads out of the folder of results.")

    def files(self, folder: Path, names: Iterable[str], pair: Pair) -> dict[str, Path]:
        """The results of a pair among the ``names`` of a folder's files, by method; the folder's name is the method
        where the pattern has none.
        """
        expression, own = self._expression(pair), folder.resolve().name
        matched = ((expression.fullmatch(name), folder / name) for name in names)
        return {match.groupdict().get("method") or own: path for match, path in matched if match is not None}

    def _expression(self, pair: Pair) -> re.Pattern[str]:
        """What the names of a pair's results match."""
        filled = {"content": re.escape(pair.content.name), "style": re.escape(pair.style.name)}
        parts: list[str] = []
        for text, field, _, _ in Formatter().parse(self.text):
            method = "(?P=method)" if any("(?P<method>" in part for part in parts) else "(?P<method>[^/]+)"
            parts += [re.escape(text), "" if field is None else filled.get(field, method)]
        return re.compile("".join(parts))

    def example(self, pair: Pair) -> str:
        """The name that a pair's result would have."""
        return self.text.format(content=pair.content.name, style=pair.style.name, method="METHOD")


@dataclass(frozen=True)
class FoundResults:
    """Results of each pair by method, and the names of those that are missing."""

    files: Sequence[tuple[Pair, dict[str, Path]]]
    missing: Sequence[str]


def find_results(folder: Path, pattern: NamePattern, pairs: Sequence[Pair]) -> FoundResults:
    """The results of pairs in a folder. Raises PictureError where there is none."""
    if not folder.is_dir():
        raise PictureError(f"{folder} is no folder: name the one with the results.")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    by_pair = [(pair, pattern.files(folder, names, pair)) for pair in pairs]
    methods = list(dict.fromkeys(method for _, files in by_pair for method in files))
    if not methods:
        raise PictureError(
            f"{folder} holds no result of these pictures, such as {pattern.example(pairs[0])}: say how they are named "
            "with --names."
        )
    missing = [f"{pair.name} by {method}" for pair, files in by_pair for method in methods if method not in files]
    return FoundResults([(pair, files) for pair, files in by_pair if files], missing)


def measured(opened: OpenPair, method: str, path: Path, side: int, kept: KeptRows) -> Row:
    """The row of a result, scaled to the content's size: the kept one of the same file, or measured now.

    Raises PictureError for a picture that cannot be read.
    """
    pair = opened.pair
    picture, found = open_picture(path), kept.row(method, pair)
    told = {"size": side, "result_sha256": picture.digest, "picture": str(path)}
    if found is not None and told.items() <= found.items():
        return found
    height, width = opened.content.shape[2:]
    result = image_to_pixels(picture.image, (width, height))
    row: Row = {
        "content": pair.content.name,
        "style": pair.style.name,
        "entry": method,
        "label": method,
        "method": method,
        "strength": None,
        **scores_of(result, opened.content, opened.style, pair.mask),
        **digests(pair),
        **told,
        "versions": described(versions()),
    }
    kept.keep_row(method, pair, row)
    return row


def measured_results(
    found: FoundResults, side: int, kept: KeptRows, say: Callable[[str], None]
) -> tuple[list[Row], list[str]]:
    """The rows of results, and a sentence for each that cannot be read or measured, which is said.

    Raises PictureError where that is so of all.
    """
    rows: list[Row] = []
    failures: list[str] = []
    for number, (pair, files) in enumerate(found.files):
        opened = pair.opened()
        for method, path in files.items():
            try:
                rows.append(measured(opened, method, path, side, kept))
            except Exception as error:  # whatever it is, the other results are measured
                failures.append(f"{pair.name} by {method} is left out: {reason(error)}")
                say(failures[-1])
        say(f"{number + 1} of {len(found.files)} pairs: {pair.name}")
    if not rows:
        raise PictureError("No result could be measured: the reasons stand above.")
    return rows, failures
