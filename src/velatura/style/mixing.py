"""Several styles with weights in one style, which methods read part by part."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import torch

from velatura.errors import SettingError
from velatura.style.style import Style, check_styles

SHARES = "shares"
Part = TypeVar("Part")
Shares = Sequence[tuple[Part, float]]


def mixed_style(styles: Shares[Style]) -> Style:
    """One style that holds the tensors of several, with their shares: the weights, scaled to sum to 1.

    Styles of weight 0 are left out, and a single one comes back as it is. Raises SettingError for weights that are
    negative or not finite or sum to 0, StyleError for styles of different methods or models.
    """
    weights = [weight for _, weight in styles]
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
        raise SettingError("The weights of the styles must be finite and not negative, and one must be more than 0.")
    total = sum(weights)
    total = 1.0 if math.isclose(total, 1, rel_tol=1e-12) else total  # shares from a manifest stay what they are
    chosen = [(style, weight / total) for style, weight in styles if weight]
    if len(chosen) == 1:
        return chosen[0][0]
    base = next((style for style, _ in chosen if style.fingerprint), chosen[0][0])
    check_styles([style for style, _ in chosen], base.method, base.fingerprint, base.model)
    parts = [(part, share * inner) for style, share in chosen for part, inner in parts_of(style)]
    tensors = {
        f"{_prefix(number)}{name}": tensor
        for number, (part, _) in enumerate(parts)
        for name, tensor in part.tensors.items()
    }
    tensors[SHARES] = torch.tensor([share for _, share in parts], dtype=torch.float64)
    name = " + ".join(f"{share:.2g} {style.name}" for style, share in chosen)
    described = [{"name": part.name, "share": share, "card": dict(part.card)} for part, share in parts]
    digest = hashlib.sha256("".join(f"{part.identity}{part.name}{share}" for part, share in parts).encode())
    card = {"sha256": digest.hexdigest(), "parts": described}
    return Style(name, base.method, base.model, base.fingerprint, tensors, card)


def parts_of(style: Style) -> list[tuple[Style, float]]:
    """The styles that a mix was made of, with their shares, which sum to 1; a style that is no mix is its only part."""
    described = style.card.get("parts")
    if not described:
        return [(style, 1.0)]
    parts = []
    for number, part in enumerate(described):
        prefix = _prefix(number)
        own = {name.removeprefix(prefix): t for name, t in style.tensors.items() if name.startswith(prefix)}
        whole = Style(part["name"], style.method, style.model, style.fingerprint, own, part["card"])
        parts.append((whole, float(part["share"])))
    return parts


def rescaled(parts: Shares[Part]) -> list[tuple[Part, float]]:
    """The same parts with shares that sum to 1."""
    total = sum(share for _, share in parts)
    return [(part, share / total) for part, share in parts]


def _prefix(number: int) -> str:
    return f"part.{number:02d}."
