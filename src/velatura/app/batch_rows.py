"""A plan's records as rows: methods, settings and seeds read and checked as on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from velatura.app.former_names import COMPAT
from velatura.app.options import parse_settings
from velatura.app.studio import TEXT_STYLE, configured
from velatura.batch.place import absolute
from velatura.batch.row import Row
from velatura.errors import SettingError, VelaturaError
from velatura.methods.adapters.controlling import ONE_PHOTO, names_control_picture
from velatura.methods.validation import check_seed
from velatura.registry import method_class
from velatura.span import Span
from velatura.style import StyleLibrary

NEEDED, OWN = ("content", "style"), ("content", "style", "method", "preset", "seed")
SPAN = "span"  # how a Span stands in a row's JSON
TOGETHER = ("auto", "content", "style")


@dataclass(frozen=True)
class Asked:
    """What holds for all rows that do not say otherwise: a method with settings, a seed, and what rows are kept
    ``together``. ``library`` knows styles by name.
    """

    method: str
    settings: Mapping[str, Any]
    library: StyleLibrary
    seed: int = 0
    together: str = "auto"
    _read: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.together not in TOGETHER:
            raise SettingError(f"--together must be {' or '.join(TOGETHER)}, not '{self.together}'.")
        check_seed(self.seed)
        configured(self.method, self.settings)
        object.__setattr__(self, "_read", lru_cache(maxsize=256)(self._settings_of))

    def rows(self, records: Iterable[Mapping[str, Any]], where: str) -> Iterator[Row]:
        """The rows of records. Raises SettingError, naming the row, for one that no method could make."""
        controlled = ""  # the photo that the control picture of all rows is of
        for number, record in enumerate(records):
            try:
                row = self._row(number, record)
                if names_control_picture(self.settings) and "control" not in record:
                    controlled = controlled or row.content
                    if row.content != controlled:
                        raise SettingError(f"{ONE_PHOTO} A plan can name one in each row, in a column 'control'.")
            except VelaturaError as error:
                raise SettingError(f"Row {number + 1} of {where}: {error}") from None
            yield row

    def _row(self, number: int, record: Mapping[str, Any]) -> Row:
        missing = [name for name in NEEDED if not record.get(name)]
        if missing:
            meant = get_close_matches(missing[0], [name for name in record if name not in OWN], 1)
            hint = f"is the column {meant[0]} meant?" if meant else f"each row needs {' and '.join(NEEDED)}."
            raise SettingError(f"it has no {missing[0]}: {hint}")
        content, style = absolute(str(record["content"])), self._style(str(record["style"]))
        own = {name: value for name, value in record.items() if name not in OWN}
        method, settings = self._read(
            str(record.get("method", self.method)), str(record.get("preset", "")), json.dumps(own, default=str)
        )
        seed = _whole(record.get("seed", self.seed))
        check_seed(seed)
        group = content if self.by_content(method) else f"{method}{settings}{seed}{style}"
        return Row(number, content, style, method, settings, seed, group)

    def by_content(self, method: str) -> bool:
        """Whether rows of one content stand together, which share its inversion, or those of one style, whose contents
        can share passes.
        """
        return method_class(method).batch == 1 if self.together == "auto" else self.together == "content"

    def _style(self, text: str) -> str:
        """Words as they are; a name of the library as its file; anything else as a path or URL."""
        if text.startswith(TEXT_STYLE):
            return text
        return absolute(str(self.library.path(text)) if self.library.has(text) else text)

    def _settings_of(self, method: str, preset: str, own: str) -> tuple[str, str]:
        """A method's present name and its settings as JSON, of texts by the type of the setting's default."""
        values: dict[str, Any] = json.loads(own)
        self._check_columns(method, values)
        texts = [f"{name}={value}" for name, value in values.items() if isinstance(value, str)]
        current, parsed = parse_settings(method, texts, None, preset, "the column")
        common = self.settings if current == self.method else {}
        others = {name: value for name, value in values.items() if not isinstance(value, str)}
        settings = {**common, **others, **parsed}
        configured(current, settings)
        return current, settings_as_text(settings)

    def _check_columns(self, method: str, names: Iterable[str]) -> None:
        """Raise SettingError for a column that is no setting but nearly one; others are for the method to refuse."""
        cls = method_class(method)
        known = [*OWN, *(each.name for each in fields(cls))]
        for name in names:
            meant = [] if name in {*known, *cls.renamed, COMPAT} else get_close_matches(name, known, 1)
            if meant:
                raise SettingError(f"the column {name} is no setting of {method}: is {meant[0]} meant?")


def settings_as_text(settings: Mapping[str, Any]) -> str:
    """Settings as JSON, in their order: that of the losses decides about last bits."""

    def told(value: Any) -> Any:
        if isinstance(value, Span):
            return {SPAN: [value.start, value.end]}
        if isinstance(value, Mapping):
            return {name: told(inner) for name, inner in value.items()}
        return value

    return json.dumps(told(settings))


def settings_of_text(text: str) -> dict[str, Any]:
    """The settings that ``settings_as_text`` wrote."""

    def read(value: dict[str, Any]) -> Any:
        return Span(*value[SPAN]) if value.keys() == {SPAN} else value

    settings: dict[str, Any] = json.loads(text, object_hook=read)
    return settings


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise SettingError(f"seed must be a whole number, not {value!r}.") from None
