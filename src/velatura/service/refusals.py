"""What is wrong with a request that does not fit the schema, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Fault = Mapping[str, Any]
OUTER = ("body", "query", "path", "header", "stylize", "fit")  # parts of a place that a user does not know
FIRST_KIND = "bool"  # of those that a setting may have
WRONG_KIND = ("_type", "_parsing", "_from_float")  # how pydantic's names of a value of the wrong kind end

SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is nothing that such a request has",
    "string_too_short": lambda ctx: f"must have at least {_many(ctx['min_length'], 'character')}",
    "string_too_long": lambda ctx: f"must have at most {_many(ctx['max_length'], 'character')}",
    "too_short": lambda ctx: f"must have at least {_many(ctx['min_length'], 'entry', 'entries')}",
    "too_long": lambda ctx: f"must have at most {_many(ctx['max_length'], 'entry', 'entries')}",
    "greater_than": lambda ctx: f"must be over {ctx['gt']:g}",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "finite_number": lambda _: "must be a finite number",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "is too large a number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "string_type": lambda _: "must be a text",
    "string_pattern_mismatch": lambda ctx: (
        "must not hold a NUL character" if "x00" in ctx["pattern"] else "is none that this server gave out"
    ),
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object of names and values",
    "model_attributes_type": lambda _: "must be a JSON object, sent as Content-Type: application/json",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "union_tag_invalid": lambda ctx: f"must have {ctx['discriminator']} {ctx['expected_tags'].replace(', ', ' or ')}",
    "union_tag_not_found": lambda ctx: f"lacks {ctx['discriminator']}",
}


def sentence_of(faults: Sequence[Fault]) -> str:
    """The first fault as a sentence that names its place."""
    first = faults[0]
    if first["type"] == "json_invalid":
        place = f", at character {first['loc'][-1]}" if isinstance(first["loc"][-1], int) else ""
        return f"The request's body is no JSON ({first['ctx']['error']}{place})."
    if first["loc"][-1] == FIRST_KIND:
        return _sentence_of_setting(faults, first["loc"][:-1])
    return f"{_place(first['loc'])} {_words(first)}."


def _sentence_of_setting(faults: Sequence[Fault], place: tuple[str | int, ...]) -> str:
    """What is wrong with a setting, of which pydantic says what each kind that it may have finds wrong: what counts is
    the kind that it is.
    """
    found = [fault for fault in faults if fault["loc"][: len(place)] == place]
    own = next((fault for fault in found if not fault["type"].endswith(WRONG_KIND)), None)
    if own is None:
        return f"{_place(place)} must be a number, a text, true or false, or numbers by name."
    inner = own["loc"][len(place) + 1 : len(place) + 2]  # the name of a number, behind the kind
    return f"{_place((*place, *inner))} {_words(own)}."


def _words(fault: Fault) -> str:
    say = SENTENCES.get(fault["type"])
    return say(fault.get("ctx", {})) if say else f"is wrong: {str(fault['msg']).rstrip('.')}"


def _place(parts: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in parts if part not in OUTER) or "The request"


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
