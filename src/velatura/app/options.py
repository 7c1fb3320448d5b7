"""Options that several commands share, and the reading of NAME=VALUE settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from velatura.errors import SettingError

MethodName = Annotated[str, typer.Option(help="The method: guided, s2prest, inst or diffstyler.")]
Model = Annotated[str, typer.Option(help="house, sd14, sd15, sd21, sdxl, a folder, a file, or a hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Preset = Annotated[str, typer.Option(help="For guided: poster or zecon.", show_default="its own")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the method, NAME=VALUE; repeatable.", show_default=False),
]
LossWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        help="A loss's weight, NAME=NUMBER, in part of the run NAME=NUMBER@FROM-TO; repeatable.",
        show_default=False,
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
    method: str, settings: list[str] | None, losses: list[str] | None, preset: str = ""
) -> dict[str, Any]:
    """The method's settings from texts, each by the type of its default, over those of a ``preset``.

    Raises SettingError for an unknown method, preset, setting or loss and for a value that cannot be read.
    """
    from velatura.methods import method_of

    defaults = method_of(method)()
    known = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    parsed: dict[str, Any] = {}
    if preset:
        from velatura.methods.guided.presets import preset as preset_settings

        if method != "guided":
            raise SettingError(f"The method {method} has no presets: --preset is for guided.")
        parsed = dict(preset_settings(preset))
    for name, text in _pairs(settings, "--set"):
        if name not in known or isinstance(known[name], dict):
            plain = [key for key, value in known.items() if not isinstance(value, dict)]
            raise SettingError(f"The method {method} has no setting '{name}': it has {', '.join(plain)}.")
        parsed[name] = _as(type(known[name]), text, f"--set {name}")
    if losses:
        if "weights" not in known:
            raise SettingError(f"The method {method} has no losses: --loss is for guided.")
        from velatura.losses import check_losses

        spanned = {name: parse_span(text) for name, text in _pairs(losses, "--loss")}
        weights = {name: _as(float, text, f"--loss {name}") for name, (text, _) in spanned.items()}
        spans = {name: span for name, (_, span) in spanned.items() if span != WHOLE_SPAN}
        check_losses(weights, spans)
        parsed["weights"] = {**parsed.get("weights", known["weights"]), **weights}
        parsed |= {"spans": spans} if spans else {}
    return parsed


WHOLE_SPAN = (0.0, 1.0)


def parse_span(text: str) -> tuple[str, tuple[float, float]]:
    """A name and the part of the steps in which it acts, from "NAME" or "NAME@FROM-TO"."""
    name, at, span = text.rpartition("@")
    first, dash, last = span.partition("-")
    try:
        return (name, (float(first), float(last))) if at and dash else (text, WHOLE_SPAN)
    except ValueError:
        return text, WHOLE_SPAN


def parse_strengths(text: str | None) -> list[float | None]:
    """The strengths of a sweep, "0.2,0.4"; [None], the method's own, without a text. Raises SettingError."""
    if text is None:
        return [None]
    return [_as(float, part.strip(), "--strength") for part in text.split(",")]


def parse_regions(entries: list[str], method: str) -> list[tuple[str, str]]:
    """Pairs of where and style from "WHERE=STYLE". Raises SettingError for other texts and methods."""
    if entries and method not in ("diffstyler", "guided"):
        raise SettingError(f"The method {method} has no regions yet: use --method diffstyler or guided with --region.")
    return _pairs(entries, "--region")


def parse_styles(entries: list[str], regions: list[tuple[str, str]]) -> dict[str | Path, float]:
    """Styles with weights from "NAME" or "NAME=WEIGHT".

    Raises SettingError for a style named twice, and for both or neither of styles and ``regions``.
    """
    if bool(entries) == bool(regions):
        raise SettingError("Say --style NAME for the whole picture, or --region WHERE=STYLE, and not both.")
    styles: dict[str | Path, float] = {}
    for entry in entries:
        name, equals, weight = entry.rpartition("=")
        try:
            chosen, share = (name, float(weight)) if equals and name else (entry, 1.0)
        except ValueError:
            chosen, share = entry, 1.0
        if chosen in styles:
            raise SettingError(f"The style {chosen} is named twice: give it one --style {chosen}=WEIGHT.")
        styles[chosen] = share
    return styles


def _as(kind: type[Any], text: str, option: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise SettingError(f"{option} needs a {kind.__name__}, not '{text}'.") from None
