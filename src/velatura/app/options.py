"""Options that several commands share, and the reading of NAME=VALUE settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from velatura.app.former_names import Choice, current
from velatura.errors import SettingError
from velatura.methods.validation import KINDS
from velatura.registry import METHODS, NAMES, REPRODUCTIONS, method_class, methods_with, preset_settings
from velatura.span import WHOLE_RUN, Span

MethodName = Annotated[
    str, typer.Option(help=f"The method: {', '.join(METHODS)}; as it was published: {', '.join(REPRODUCTIONS)}.")
]
Model = Annotated[
    str,
    typer.Option(
        help="The model: house (in the package), another name of 'velatura models', a folder, a file or a hub id."
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="The networks' number format: auto, fp32, bf16 or fp16.")]
Preset = Annotated[
    str, typer.Option(help="Named settings of the method, such as guided's poster.", show_default="its own")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of the method, as steps=30; 'velatura settings METHOD' lists them; repeatable.",
        show_default=False,
    ),
]
LossWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        help="The weight of a loss, as texture=2, or texture=2@0-0.5 for the first half of the steps; repeatable.",
        show_default=False,
    ),
]


ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Also write an HTML page, one file, that explains the result: before and after, scores, masks, losses.",
        show_default=False,
    ),
]
Colours = Annotated[
    str | None,
    typer.Option(
        help="Whose colours the result has: style, content (the photo's own), a number between 0 (the photo's) and 1 "
        "(the style's), or made (as the method makes them).",
        show_default="method's",
    ),
]
StyleScale = Annotated[
    float | None,
    typer.Option(
        help="Size of strokes and shapes relative to the picture: 1 as in the style picture shown as large as the "
        "result, 2 twice as large, 0.5 half as large.",
        show_default="1",
    ),
]
AUTO = "auto"  # the strength that is chosen for each pair
FULL = "full"  # the size, and the resolution, that is the photo's own
Size = Annotated[
    str | None,
    typer.Option(
        help="Working length of the short side in pixels; full paints the result again at the photo's own size, in "
        "tiles, instead of enlarging it.",
        show_default="the photo's within limits",
    ),
]


def _pairs(entries: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = []
    for entry in entries or []:
        name, equals, value = entry.partition("=")
        if not equals or not name or not value:
            raise SettingError(f"{option} {entry} is not of the form NAME=VALUE.")
        pairs.append((name.strip(), value.strip()))
    return pairs


def parse_settings(
    method: str, settings: list[str] | None, losses: list[str] | None, preset: str = "", place: str = "--set"
) -> tuple[str, dict[str, Any]]:
    """A method's name and its settings from texts, each by the type of its default, over those of a ``preset``.

    ``place`` is where the settings stand, as errors tell it. Former names are translated, which can change the method.
    Raises SettingError for an unknown method, preset, setting or loss and for a value that cannot be read.
    """
    chosen = current(Choice(method, with_resolution(dict(_pairs(settings, place))), preset))
    known = _defaults(chosen.method)
    parsed = dict(preset_settings(chosen.method, chosen.preset)) if chosen.preset else {}
    for name, text in chosen.settings.items():
        if name not in known or isinstance(known[name], Mapping):
            raise no_setting(chosen.method, name, [key for key, each in known.items() if not isinstance(each, Mapping)])
        parsed[name] = _as(type(known[name]), text, f"{place} {name}")
    if losses:
        parsed |= _parse_losses(chosen.method, losses, parsed.get("weights", known.get("weights")))
    return chosen.method, parsed


def no_setting(method: str, name: str, known: Iterable[str]) -> SettingError:
    """What to say of a setting that a method does not have: the nearest name of those ``known``, or where they are.

    >>> no_setting("guided", "strenght", ["strength", "steps"]).args[0]
    "The method guided has no setting 'strenght': did you mean strength?"
    """
    near = get_close_matches(name, list(known), 1)
    advice = f"did you mean {near[0]}?" if near else f"'velatura settings {method}' lists those it has."
    return SettingError(f"The method {method} has no setting '{name}': {advice}")


def with_resolution(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which the size "full" has become the resolution "full"."""
    if settings.get("size") != FULL:
        return dict(settings)
    return {name: value for name, value in settings.items() if name != "size"} | {"resolution": FULL}


def parse_size(text: str | None) -> dict[str, Any]:
    """The settings that --size stands for. Raises SettingError for a text that is no whole number and not "full"."""
    if text is None or text == FULL:
        return with_resolution({} if text is None else {"size": text})
    try:
        return {"size": int(text)}
    except ValueError:
        raise SettingError(f"--size needs a whole number of pixels, or {FULL}, not '{text}'.") from None


def _defaults(method: str) -> dict[str, Any]:
    """A method's settings and their defaults."""
    defaults = method_class(method)()
    return {field.name: getattr(defaults, field.name) for field in fields(defaults)}


def _parse_losses(method: str, losses: list[str], weights: Mapping[str, float] | None) -> dict[str, Any]:
    """The settings ``weights``, over those given, and ``spans`` from "NAME=NUMBER[@FROM-TO]"."""
    if weights is None:
        others = [name for name in NAMES if "weights" in _defaults(name)]
        raise SettingError(f"The method {method} has no losses: --loss is for {' and '.join(others)}.")
    from velatura.losses import check_losses

    entries = [(name, *parse_span(text)) for name, text in dict(_pairs(losses, "--loss")).items()]
    asked = {name: _as(float, text, f"--loss {name}") for name, text, _ in entries}
    spans = {name: span for name, _, span in entries if span != WHOLE_RUN}
    check_losses(asked, spans)
    return {"weights": {**weights, **asked}} | ({"spans": spans} if spans else {})


def parse_span(text: str) -> tuple[str, Span]:
    """A name and the part of the run in which it acts, from "NAME" or "NAME@FROM-TO"."""
    name, at, span = text.rpartition("@")
    first, dash, last = span.partition("-")
    try:
        return (name, Span(float(first), float(last))) if at and dash else (text, WHOLE_RUN)
    except ValueError:
        return text, WHOLE_RUN


def parse_region_style(text: str) -> tuple[str, float, Span]:
    """A region's style, its weight and the part of the run in which it acts, from "NAME[*WEIGHT][@FROM-TO]".

    Raises SettingError for a weight or a span out of range.
    """
    name, span = parse_span(text)
    span.check("a region")
    style, star, weight = name.rpartition("*")
    try:
        share = float(weight) if star and style else 1.0
    except ValueError:
        return name, 1.0, span
    if not 0 <= share <= 1:
        raise SettingError(f"The weight of a region must be from 0 to 1, not {weight}: write WHERE=STYLE*0.5.")
    return (style if star and style else name), share, span


def parse_strength_option(text: str | None) -> list[float | str | None]:
    """``parse_strengths``, or ["auto"]. Raises SettingError."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if AUTO in parts and len(parts) > 1:
        raise SettingError(f"--strength {text} mixes {AUTO} with others: give {AUTO} alone, or numbers.")
    return [AUTO] if parts == [AUTO] else [*parse_strengths(text)]


def parse_strengths(text: str | None, option: str = "--strength") -> list[float | None]:
    """The strengths of a sweep, "0.2,0.4"; [None], the method's own, without a text. Raises SettingError, which names
    the ``option``.
    """
    if text is None:
        return [None]
    return list(dict.fromkeys(_as(float, part.strip(), option) for part in text.split(",")))


def parse_regions(entries: list[str], method: str) -> list[tuple[str, str]]:
    """Pairs of query and style from "WHERE=STYLE". Raises SettingError for a bad entry or a method without regions."""
    if entries and not method_class(method).regions:
        others = " or ".join(methods_with("regions"))
        raise SettingError(f"The method {method} has no regions yet: use --method {others} with --region.")
    regions = _pairs(entries, "--region")
    for _, style in regions:
        parse_region_style(style)
    return regions


def parse_styles(entries: list[str], regions: list[tuple[str, str]]) -> list[dict[str | Path, float]]:
    """Choices of styles with weights: one of all where an entry is "NAME=WEIGHT", else one of each "NAME".

    Raises SettingError for a style named twice, and for both or neither of styles and ``regions``.
    """
    if bool(entries) == bool(regions):
        raise SettingError("Say --style NAME for the whole picture, or --region WHERE=STYLE, and not both.")
    styles: dict[str | Path, float] = {}
    weighted: list[str] = []
    for entry in entries:
        name, equals, weight = entry.rpartition("=")
        try:
            chosen, share = (name, float(weight)) if equals and name else (entry, 1.0)
            weighted += [entry] if chosen != entry else []
        except ValueError:
            chosen, share = entry, 1.0
        if chosen in styles:
            raise SettingError(f"The style {chosen} is named twice: name it once.")
        styles[chosen] = share
    if weighted and len(weighted) < len(entries):
        bare = next(entry for entry in entries if entry not in weighted)
        raise SettingError(f"The style {bare} has no weight, and others have: give it one, as --style {bare}=1.")
    return [styles] if weighted else [{style: 1.0} for style in styles]


def _as(kind: type[Any], text: str, option: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise SettingError(f"{option} needs a {KINDS[kind]}, not '{text}'.") from None
