"""Bradley-Terry scores: how good things are, from which of two was preferred."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from velatura.errors import SettingError

Wins = Mapping[tuple[str, str], float]  # how often the first was preferred to the second; a tie is half for each
PRIOR = 0.5  # wins each way that every compared pair is given, so that a pair without any defeat has a finite score
Z = 1.959964  # of the normal distribution's middle 95 %
ITERATIONS, TOLERANCE = 100, 1e-10

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Rating:
    """A thing's ``score`` in log-odds, about the mean 0 of all, and its 95 % confidence interval."""

    name: str
    score: float
    low: float
    high: float


def bradley_terry(wins: Wins) -> list[Rating]:
    """Scores of everything that ``wins`` compares, the best first (Bradley and Terry 1952).

    P(A preferred to B) = 1 / (1 + exp(B's score - A's)). Maximum likelihood by Newton's method, with half a win each
    way added to every pair that was compared; intervals from the inverse of the information (Wald), which takes choices
    as independent. Raises SettingError where there is nothing to compare, and for things that no chain of comparisons
    links.

    >>> [(rating.name, round(rating.score, 2)) for rating in bradley_terry({("a", "b"): 9.0, ("b", "a"): 3.0})]
    [('a', 0.5), ('b', -0.5)]
    """
    names = sorted({name for pair, count in wins.items() if count for name in pair})
    if len(names) < 2:
        raise SettingError("There are no choices between two to count.")
    counts = _counts(wins, names)
    _check_linked(counts, names)
    scores = np.zeros(len(names))
    for _ in range(ITERATIONS):
        slope, information = _derivatives(counts, scores)
        step = np.linalg.pinv(information) @ slope
        scores = scores + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < TOLERANCE:
            break
    reach = Z * np.sqrt(np.diag(np.linalg.pinv(_derivatives(counts, scores)[1])).clip(0))
    found = [
        Rating(name, float(score), float(score - half), float(score + half))
        for name, score, half in zip(names, scores, reach, strict=True)
    ]
    return sorted(found, key=lambda rating: -rating.score)


def preference(first: Rating, second: Rating) -> float:
    """The probability that the first is preferred to the second."""
    return 1 / (1 + math.exp(second.score - first.score))


def _counts(wins: Wins, names: Sequence[str]) -> Matrix:
    """(N, N): how often the row's was preferred to the column's, with the prior where they were compared."""
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    for (winner, loser), count in wins.items():
        if count and winner != loser:
            counts[place[winner], place[loser]] += count
    compared = (counts + counts.T) > 0
    return np.asarray(counts + PRIOR * compared, dtype=np.float64)


def _derivatives(counts: Matrix, scores: Matrix) -> tuple[Matrix, Matrix]:
    """The slope of the log-likelihood, and the information matrix (its negative curvature)."""
    chance = 1 / (1 + np.exp(scores[None] - scores[:, None]))
    games = counts + counts.T
    weights = games * chance * (1 - chance)
    return (counts - games * chance).sum(1), np.diag(weights.sum(1)) - weights


def _check_linked(counts: Matrix, names: Sequence[str]) -> None:
    """Raise SettingError unless a chain of comparisons leads from the first to every other."""
    reached, games = {0}, (counts + counts.T) > 0
    while True:
        further = {int(index) for index in np.flatnonzero(games[sorted(reached)].any(0))} - reached
        if not further:
            break
        reached |= further
    apart = [name for index, name in enumerate(names) if index not in reached]
    if apart:
        raise SettingError(f"{apart[0]} was never compared with {names[0]}, directly or through others: compare them.")
