"""Where a style came from, so that it can be found or fitted again: what a manifest tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.style.mixing import parts_of
from velatura.style.style import Style

TOLD = (
    *("picture", "file", "sha256", "size", "pictures", "mask"),
    *("settings", "style_scale", "style_ground", "text", "prompt", "imported"),
)
MOST_LOSSES = 60  # of a fit's curve


def style_source(style: Style) -> dict[str, Any]:
    """A style's name, method, identity and the part of its card that a fit depends on; of a mix its parts' with shares.

    Plain JSON values. One style of several pictures is no mix, even where its method mixes what it learned of each.
    """
    described: dict[str, Any] = {"name": style.name, "method": style.method, "identity": style.identity}
    if style.card.get("parts") and not style.card.get("pictures"):
        parts = [{**style_source(part), "share": share} for part, share in parts_of(style)]
        return {**described, "parts": parts}
    described |= {name: style.card[name] for name in TOLD if style.card.get(name)}
    curve = thinned(style.card)
    return {**described, "loss": curve} if curve else described


def thinned(card: Mapping[str, Any]) -> list[Any]:
    """A fit's losses by step, at most ``MOST_LOSSES`` of them and the last."""
    curve = list(card.get("loss") or [])
    every = -(-len(curve) // MOST_LOSSES) or 1
    return curve[::every] + (curve[-1:] if curve and (len(curve) - 1) % every else [])
