"""The ranges of settings, declared with their types, and the one check of them.

A field's range stands in its annotation: ``steps: Annotated[int, Range(1, 1000)] = 50``, or ``steps: Steps = 50``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from velatura.errors import SettingError

MAX_SEED = 2**63 - 1
UNSET = -1.0  # a number that was not set, where 0 says something
KINDS = {int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; ``open``: without ``low`` itself, ``or_zero``: and 0, ``or_unset``:
    and UNSET.
    """

    low: float
    high: float
    open: bool = False
    or_zero: bool = False
    or_unset: bool = False

    def contains(self, value: float) -> bool:
        """Whether a number is finite and in the range."""
        if (self.or_zero and value == 0) or (self.or_unset and value == UNSET):
            return True
        return (self.low < value if self.open else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        first = f"over {_short(self.low)} and at most" if self.open else f"from {_short(self.low)} to"
        unset = f" (or {_short(UNSET)}: not set)" if self.or_unset else ""
        return f"{'0 or ' * self.or_zero}{first} {_short(self.high)}{unset}"


@dataclass(frozen=True)
class Choices:
    """Texts that are allowed; the empty one too where ``or_empty``."""

    values: tuple[str, ...]
    or_empty: bool = False

    def contains(self, value: str) -> bool:
        """Whether a text is one of them."""
        return value in self.values or (self.or_empty and not value)

    def __str__(self) -> str:
        *first, last = self.values
        return f"{', '.join(first)} or {last}" if first else last


@dataclass(frozen=True)
class NamedShares:
    """A share from 0 to 1, as a number or its text, or by one of the ``names`` (None: none); "" for none."""

    names: Mapping[str, float | None]

    def share(self, value: float | str) -> float | None:
        """The share; None for "" and a name of none. Raises ValueError for anything else."""
        if value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | Real):
            raise ValueError(value)
        return self.names[value] if isinstance(value, str) and value in self.names else float(value)

    def contains(self, value: float | str) -> bool:
        """Whether a value is one of those."""
        try:
            share = self.share(value)
        except ValueError:
            return False
        return share is None or 0 <= share <= 1

    def __str__(self) -> str:
        return f"{', '.join(self.names)} or a number from 0 to 1"


Allowed = Range | Choices | NamedShares
Steps = Annotated[int, Range(1, 1000)]
Share = Annotated[float, Range(0, 1)]
AdvisedShare = Annotated[float, Range(0, 1, or_unset=True)]  # UNSET: what the model recommends, or the paper's
Side = Annotated[int, Range(64, 4096, or_zero=True)]  # pixels; 0 leaves it to the method or the model
Corrections = Annotated[int, Range(0, 100)]
GuidanceScale = Annotated[float, Range(0, 100)]
Seed = Annotated[int, Range(0, MAX_SEED)]


class SettingSpec(NamedTuple):
    """A setting as a list of settings shows it; ``meaning`` are the sentences of its class's docstring on it."""

    name: str
    kind: str
    default: Any
    allowed: Allowed | None
    meaning: str


def check_settings(settings: Any) -> None:
    """Raise SettingError, naming the range, for a field of a settings object that lies outside its own.

    Numbers must be finite and of the field's kind: a float that is no whole number is no int.
    """
    for name, (kind, allowed) in _annotations(type(settings)).items():
        check_value(name, getattr(settings, name), kind, allowed)


def check_value(name: str, value: Any, kind: type[Any], allowed: Allowed | None) -> None:
    """Raise SettingError unless ``value`` is of its ``kind`` (int, float, str; others are not checked) and allowed."""
    numeric: type[Any] = Integral if kind is int else Real
    fits = isinstance(value, numeric) and not isinstance(value, bool) if kind in (int, float) else True
    if not fits or (kind is str and not isinstance(value, str)):
        raise SettingError(f"{name} must be a {KINDS[kind]}, not {value!r}.")
    if kind is float and not -math.inf < value < math.inf:
        raise SettingError(f"{name} must be {allowed or 'a finite number'}, not {value}.")
    if allowed is not None and not allowed.contains(value):
        shown = _short(value) if isinstance(value, int | float) else f"'{value}'"
        raise SettingError(f"{name} must be {allowed}, not {shown}.")


def changed(settings: Any, names: Collection[str]) -> list[str]:
    """Those ``names`` whose settings are there and not their defaults."""
    defaults = {each.name: each.default for each in fields(settings)}
    return [name for name in names if name in defaults and getattr(settings, name) != defaults[name]]


def check_seed(seed: int) -> None:
    """Raise SettingError for a seed outside 0 to 2^63 - 1."""
    check_value("seed", seed, int, Range(0, MAX_SEED))


def setting_specs(cls: type[Any], without: Collection[str] = ()) -> list[SettingSpec]:
    """The settings of a method's class but those named in ``without``: its own, then what it shares with others."""
    annotations = _annotations(cls)
    order = [each.name for each in sorted(fields(cls), key=lambda each: bool(each.kw_only))]
    defaults = cls()
    return [
        SettingSpec(
            name,
            KINDS.get(annotations[name][0], "numbers by name"),
            getattr(defaults, name),
            annotations[name][1],
            _meaning(cls, name),
        )
        for name in order
        if name not in without
    ]


def _annotations(cls: type[Any]) -> dict[str, tuple[type[Any], Allowed | None]]:
    """Each field's type, without its type arguments, and range."""
    hints = [get_type_hints(base, include_extras=True) for base in cls.__mro__]
    found: dict[str, tuple[type[Any], Allowed | None]] = {}
    for field in fields(cls):
        # A class that only changes the default keeps the range of what it derives from.
        declared = [own[field.name] for own in hints if field.name in own]
        hint = next((hint for hint in declared if get_origin(hint) is Annotated), declared[0])
        kind, allowed = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
        found[field.name] = (get_origin(kind) or kind, allowed)
    return found


def _meaning(cls: type[Any], name: str) -> str:
    """The sentences that begin with a setting's name, of the docstring of the first class of the MRO that has any."""
    for base in cls.__mro__:
        own = [sentence for sentence in _sentences(base) if sentence.startswith(f"``{name}``")]
        if own:
            return " ".join(own)
    return ""


def _sentences(cls: type[Any]) -> list[str]:
    """The sentences of a class's own docstring."""
    text = " ".join((cls.__dict__.get("__doc__") or "").split())
    if text.startswith(f"{cls.__name__}("):  # a dataclass's own, which only repeats its fields
        return []
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", text)


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
