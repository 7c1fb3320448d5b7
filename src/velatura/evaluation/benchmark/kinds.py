"""Kinds of style: which of a benchmark's rows are of which kind, for tables of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from velatura.errors import SettingError
from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.benchmark.plan import Pair

Kinds = Mapping[str, frozenset[str]]  # names of styles by kind; a style may be of several


def read_kinds(path: Path, pairs: Sequence[Pair]) -> Kinds:
    """Kinds of style from JSON: ``{"dark": ["01.webp", ...], ...}``, the names of files with or without endings.

    Raises SettingError for a file that is not so, or that names none of the pairs' styles.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror or error}): check the name.") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(_are_names(names) for names in found.values()):
        raise SettingError(f'{path} is no file of kinds: write JSON, as {{"dark": ["one.jpg", "two.jpg"]}}.')
    kinds = {kind: frozenset(Path(name).stem for name in names) for kind, names in found.items()}
    if not {pair.style.name for pair in pairs} & {name for names in kinds.values() for name in names}:
        raise SettingError(f"{path} names none of the styles, such as {pairs[0].style.name}: check the names.")
    return kinds


def _are_names(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)


def rows_by_kind(rows: Sequence[Row], kinds: Kinds) -> dict[str, list[Row]]:
    """The rows of each kind that has some."""
    found = {kind: [row for row in rows if row["style"] in names] for kind, names in kinds.items()}
    return {kind: own for kind, own in found.items() if own}
