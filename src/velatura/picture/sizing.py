"""The size at which a picture is worked on."""

from __future__ import annotations

from dataclasses import dataclass

from velatura.errors import SettingError

MIN_SIDE = 64


@dataclass(frozen=True)
class Sizing:
    """A picture's ``original`` and ``working`` size, (width, height); a backbone can take the latter's sides."""

    original: tuple[int, int]
    working: tuple[int, int]


def plan_size(original: tuple[int, int], short_side: int, multiple: int, max_long_side: int = 4096) -> Sizing:
    """The working size whose short side is about ``short_side`` and whose sides are multiples of ``multiple``.

    The aspect ratio is kept to the nearest multiple; a long side over ``max_long_side`` shrinks both.
    Raises SettingError for a size below 64.
    """
    if short_side < MIN_SIDE:
        raise SettingError(f"The size {short_side} is too small: give at least {MIN_SIDE} pixels.")
    width, height = original
    scale = min(short_side / min(width, height), max_long_side / max(width, height))
    snapped = tuple(max(MIN_SIDE // multiple, round(side * scale / multiple), 1) * multiple for side in (width, height))
    return Sizing(original, (snapped[0], snapped[1]))
