"""What became of a row, and what workers tell while they work."""

from __future__ import annotations

from dataclasses import dataclass

MADE, KEPT, FAILED = "made", "kept", "failed"


@dataclass(frozen=True)
class Outcome:
    """The end of a row: a picture that was ``made`` now, or ``kept`` from before, by its name; or a ``failed`` row's
    error, one sentence.

    ``request`` is the hash of all that decided about the picture, ``sha256`` that of its file. ``seconds`` and
    ``evaluations`` of the network are what it cost now.
    """

    row: int
    state: str
    picture: str = ""
    request: str = ""
    sha256: str = ""
    error: str = ""
    seconds: float = 0.0
    evaluations: float = 0.0


@dataclass(frozen=True)
class Died:
    """A worker has died; what it had in work is made again, or given up."""


@dataclass(frozen=True)
class Started:
    """A worker begins to make the pictures of these rows together."""

    rows: tuple[int, ...]


@dataclass(frozen=True)
class Ready:
    """A worker has loaded what it needs."""


@dataclass(frozen=True)
class ShareDone:
    """A worker has come to the end of a share; the most memory that it ever held, in bytes."""

    peak_memory: int


@dataclass(frozen=True)
class Broken:
    """A worker cannot go on, and neither could another: one sentence."""

    reason: str
