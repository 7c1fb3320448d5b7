"""Rows of the pictures that a folder holds, whichever commands made them; a measure that is new is taken now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from velatura.errors import SettingError
from velatura.evaluation.benchmark.failing import reason
from velatura.evaluation.benchmark.kept import KeptEntry, KeptRows, Row, digests
from velatura.evaluation.benchmark.plan import OpenPair, Pair, described
from velatura.evaluation.measures import scores_of
from velatura.picture import image_to_pixels


@dataclass(frozen=True)
class Gathered:
    """The rows of several entries, by pairs; a sentence for each entry that has only some of them, and for each kept
    picture that cannot be measured.
    """

    rows: list[Row]
    incomplete: list[str]
    failures: list[str]


def gathered(kept: KeptRows, entries: Sequence[KeptEntry], pairs: Sequence[Pair]) -> Gathered:
    """The rows of ``entries`` that the folder has, or has pictures for. No picture is made.

    Raises SettingError where it has none, or of several models.
    """
    if len({entry.told["model"] for entry in entries}) > 1:
        raise SettingError(f"{kept.folder} holds results of several models: name another --out for each.")
    rows: list[Row] = []
    failures: list[str] = []
    counts = dict.fromkeys((entry.name for entry in entries), 0)
    for pair in pairs:
        opened = pair.opened()
        for entry in entries:
            try:
                row = _row(kept, entry, opened)
            except Exception as error:  # whatever it is, the other pictures are told of
                failures.append(f"{entry.name}, {pair.name}: {reason(error)}")
                continue
            if row is not None:
                rows.append(row)
                counts[entry.name] += 1
    if not rows:
        raise SettingError(f"{kept.folder} holds no results of these pictures at this size: name --methods.")
    incomplete = [
        f"{name} has {count} of {len(pairs)} pairs: its means are of those."
        for name, count in counts.items()
        if 0 < count < len(pairs)
    ]
    return Gathered(rows, incomplete, failures)


def _row(kept: KeptRows, entry: KeptEntry, opened: OpenPair) -> Row | None:
    """The row that is kept, or that of the picture that is; None without either."""
    row = kept.finished(entry.name, opened.pair)
    spent = kept.spent(entry.name, opened.pair) if row is None else None
    return row if spent is None else measured(kept, entry, opened, spent)


def measured(kept: KeptRows, entry: KeptEntry, opened: OpenPair, spent: Mapping[str, Any]) -> Row:
    """Write the row of a picture that is kept, which cost what is ``spent``; only what its row lacks is measured."""
    pair = opened.pair
    with Image.open(kept.picture(entry.name, pair)) as file:
        result = image_to_pixels(file)
    row: Row = {
        "content": pair.content.name,
        "style": pair.style.name,
        "entry": entry.name,
        "label": entry.label,
        **entry.told,
        "settings": described(entry.told["settings"]),
        **scores_of(result, opened.content, opened.style, pair.mask, kept.scores(entry.name, pair)),
        **spent,
        **digests(pair),
        "picture": kept.picture(entry.name, pair).relative_to(kept.folder).as_posix(),
    }
    kept.keep_row(entry.name, pair, row)
    return row
