"""Rows summed up: means with intervals, worst tenths, and who is on the front of content against style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.measures import AT_ONE, CONTENT, DIRECTIONS, STYLE, goodness

Numbers = NDArray[np.float64]
RESAMPLES, SEED = 2000, 0
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Summary:
    """A measure of one entry: its mean, the mean's 95 % interval, and the mean of the worst tenth."""

    mean: float
    low: float
    high: float
    worst: float


@dataclass(frozen=True)
class Standing:
    """An entry of a benchmark: its measures summed up, and what a picture costs in the mean."""

    entry: str
    label: str
    strength: float | None
    pictures: int
    measures: Mapping[str, Summary]
    costs: Mapping[str, float]
    on_front: bool = False


def standings(rows: Sequence[Row]) -> list[Standing]:
    """One standing for each entry, in the order in which they come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["entry"], []).append(row)
    found = [_standing(group) for group in groups.values()]
    front = pareto([(each.measures[CONTENT].mean, each.measures[STYLE].mean) for each in found])
    return [
        Standing(each.entry, each.label, each.strength, each.pictures, each.measures, each.costs, on_front)
        for each, on_front in zip(found, front, strict=True)
    ]


def _standing(rows: Sequence[Row]) -> Standing:
    names = [(row["content"], row["style"]) for row in rows]
    columns = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in DIRECTIONS}
    intervals = bootstrap(names, columns)
    measures = {
        name: Summary(float(values.mean()), *intervals[name], worst_tenth(values, DIRECTIONS[name]))
        for name, values in columns.items()
    }
    first = rows[0]
    return Standing(first["entry"], first["label"], first["strength"], len(rows), measures, _costs(rows))


def _costs(rows: Sequence[Row]) -> dict[str, float]:
    """What a picture costs in the mean, and a style's fit, which only the first picture of a style shows."""
    if any(row.get("seconds") is None for row in rows):
        return {}
    fits: dict[str, float] = {}
    for row in rows:
        fits[row["style"]] = max(fits.get(row["style"], 0.0), row["fit_seconds"])
    means = {
        name: float(np.mean([row[name] for row in rows])) for name in ("seconds", "evaluations", "peak_memory_mib")
    }
    return {**means, "fit_seconds": float(np.mean([*fits.values()]))}


def worst_tenth(values: Numbers, better: int) -> float:
    """The mean of the worst tenth, at least one, of values whose ``better`` end is HIGHER, LOWER or AT_ONE.

    Of the values that are farthest from 1, those below and above do not cancel: it lies as far from 1 as they do in the
    mean, on the side where they are farther.

    >>> from velatura.evaluation.measures import HIGHER, LOWER
    >>> worst_tenth(np.arange(20.0), HIGHER), worst_tenth(np.arange(20.0), LOWER)
    (0.5, 18.5)
    >>> worst_tenth(np.array([0.25, 1.5, *[1.0] * 18]), AT_ONE)
    0.375
    """
    worst = np.array(sorted(values, key=lambda value: goodness(value, better))[: -(-len(values) // 10)])
    if better != AT_ONE:
        return float(worst.mean())
    apart = worst - 1
    return float(1 + (1 if apart.sum() > 0 else -1) * np.abs(apart).mean())


def bootstrap(names: Sequence[tuple[str, str]], columns: Mapping[str, Numbers]) -> dict[str, tuple[float, float]]:
    """95 % intervals of the means of ``columns``, whose rows are of the contents and styles in ``names``.

    Contents and styles are each drawn anew with replacement (the pigeonhole bootstrap, Owen 2007), because rows of one
    content, or one style, are not independent: the interval is for other contents and styles of the same kind.
    """
    rng = np.random.default_rng(SEED)
    weights = np.ones((RESAMPLES, len(names)))
    for part in zip(*names, strict=True):
        kinds, place = np.unique(np.array(part), return_inverse=True)
        if len(kinds) > 1:
            weights *= rng.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), RESAMPLES)[:, place]
    weights = weights[weights.sum(1) > 0]
    shares = weights / weights.sum(1, keepdims=True)
    found = {}
    for name, values in columns.items():
        low, high = np.percentile(shares @ values, INTERVAL)
        found[name] = (float(low), float(high))
    return found


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other is better than in one coordinate and at least as good in the other; higher is better.

    >>> pareto([(1.0, 0.0), (0.0, 1.0), (0.0, 0.5)])
    [True, True, False]
    """
    return [not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points) for x, y in points]
