"""The command line that asks for a result again, from its manifest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from velatura.app.recorded import Recorded, RecordedRegion
from velatura.errors import VelaturaError
from velatura.registry import method_class
from velatura.span import Span

FIT_SETTINGS = ("fit_steps", "fit_seed")  # a fit keeps these as they were asked; others it may choose itself
DTYPES: Mapping[str, str] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def changed_settings(recorded: Recorded) -> dict[str, Any]:
    """The settings that differ from the method's defaults, but for those that were left to the model's recommendation;
    all of them for a method that is not here.
    """
    advised = recorded.manifest.get("recommended") or ()
    settings = {name: value for name, value in recorded.manifest["settings"].items() if name not in advised}
    try:
        defaults = method_class(recorded.manifest["method"])()
    except VelaturaError:
        return settings
    usual = {field.name: _plain(getattr(defaults, field.name)) for field in fields(defaults)}
    return {name: value for name, value in settings.items() if name not in usual or _plain(value) != usual[name]}


def repeating_command(recorded: Recorded) -> str:
    """``velatura stylize`` with all that was asked for, as a shell reads it.

    Styles and files stand under the names that the manifest has for them.
    """
    words = ["velatura", "stylize", recorded.text("content", "file") or recorded.text("content", "name")]
    words += [word for region in recorded.regions for word in _style_options(region, recorded)]
    words += ["--method", recorded.manifest["method"], "--model", recorded.manifest["model"]]
    words += [word for entry in _setting_options(recorded) for word in entry]
    words += ["--seed", str(recorded.manifest["seed"])]
    device, dtype = recorded.text("computed_on", "device"), recorded.text("computed_on", "dtype")
    words += ["--device", device, "--dtype", DTYPES.get(dtype, dtype)] if device and dtype else []
    return shlex.join(words)


def _style_options(region: RecordedRegion, recorded: Recorded) -> list[str]:
    if region.is_whole and len(recorded.regions) == 1:
        parts = region.parts
        weights = [f"={share:g}" if len(parts) > 1 else "" for _, share in parts]
        return [
            word
            for (part, _), weight in zip(parts, weights, strict=True)
            for word in ("--style", _name(part, recorded) + weight)
        ]
    weight = "" if region.weight == 1 else f"*{region.weight:g}"
    span = "" if region.span == (0.0, 1.0) else f"@{region.span[0]:g}-{region.span[1]:g}"
    return ["--region", f"{region.where}={_name(region.source, recorded)}{weight}{span}"]


def _name(source: Mapping[str, Any], recorded: Recorded) -> str:
    """What the command line calls a style: its words, its picture, or its name in the library, which it has too where
    the run's own settings would fit the picture otherwise.
    """
    if source.get("text"):
        return f"text:{source['text']}"
    asked, own = recorded.manifest["settings"], source.get("settings") or {}
    fits_alike = all(asked[name] == own[name] for name in FIT_SETTINGS if name in asked and name in own)
    return str((fits_alike and source.get("file")) or source["name"])


def _setting_options(recorded: Recorded) -> Iterator[tuple[str, str]]:
    spans = recorded.manifest["settings"].get("spans") or {}
    for name, value in changed_settings(recorded).items():
        if name == "weights" and isinstance(value, Mapping):
            for loss, weight in value.items():
                yield "--loss", f"{loss}={weight:g}{_span(spans.get(loss))}"
        elif not isinstance(value, Mapping):
            yield "--set", f"{name}={_plain(value)}"


def _span(span: Any) -> str:
    return f"@{span['start']:g}-{span['end']:g}" if isinstance(span, Mapping) else ""


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    if isinstance(value, Span):
        return {"start": value.start, "end": value.end}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
