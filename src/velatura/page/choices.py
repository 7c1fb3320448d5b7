"""Choices of the blind comparison, gathered from every browser: one JSON line each, and their Bradley-Terry scores."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from velatura.errors import SettingError
from velatura.evaluation.bradley_terry import bradley_terry

MOST = 20_000  # choices that are kept
Way = Annotated[str, Field(min_length=1, max_length=1000)]


class Choice(BaseModel):
    """Which of two ways of painting was preferred, one of them or neither (``won`` empty), on which pair of jobs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Way
    second: Way
    won: Annotated[str, Field(max_length=1000)]
    jobs: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")], Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]]


class Standing(BaseModel):
    """How a way of painting stands: how often it was preferred, a tie as half, of how many choices; its score in
    log-odds with the 95 % interval.
    """

    name: str
    won: float
    all: int
    score: float = 0.0
    low: float = 0.0
    high: float = 0.0


class Choices:
    """The choices in a file; a line that a crash left unfinished is passed over."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()

    def add(self, choice: Choice) -> None:
        """Keep a choice. Raises SettingError for two ways that are one, a winner that is neither, and a full file."""
        if choice.first == choice.second or choice.won not in ("", choice.first, choice.second):
            raise SettingError("A choice is between two ways, of which one or neither won.")
        with self._lock:
            if len(self.all()) >= MOST:
                raise SettingError(f"{MOST:,} choices are kept already, as many as may: remove {self._file.name}.")
            with self._file.open("ab") as opened:
                # After a crash the last line may lack its end.
                opened.write(b"\n" * self._is_unfinished() + choice.model_dump_json().encode() + b"\n")

    def all(self) -> list[Choice]:
        """Every choice, in order."""
        found = []
        for line in self._file.read_bytes().splitlines() if self._file.exists() else []:
            try:
                found.append(Choice.model_validate(json.loads(line)))
            except (ValueError, ValidationError):
                continue
        return found

    def standings(self) -> list[Standing]:
        """The ways of painting, the best first; without scores where no chain of choices links them all."""
        wins: defaultdict[tuple[str, str], float] = defaultdict(float)
        for choice in self.all():
            for way, other in ((choice.first, choice.second), (choice.second, choice.first)):
                wins[way, other] += 0.5 if not choice.won else float(choice.won == way)
        names = {name for pair in wins for name in pair}
        won = {name: sum(count for pair, count in wins.items() if pair[0] == name) for name in names}
        lost = {name: sum(count for pair, count in wins.items() if pair[1] == name) for name in names}
        found = [Standing(name=name, won=won[name], all=round(won[name] + lost[name])) for name in names]
        try:
            ratings = {rating.name: rating for rating in bradley_terry(wins)}
        except SettingError:
            return sorted(found, key=lambda standing: -standing.won / standing.all)
        scored = [
            standing.model_copy(update={"score": rating.score, "low": rating.low, "high": rating.high})
            for standing in found
            for rating in [ratings[standing.name]]
        ]
        return sorted(scored, key=lambda standing: -standing.score)

    def _is_unfinished(self) -> bool:
        return self._file.exists() and not self._file.read_bytes().endswith(b"\n")
