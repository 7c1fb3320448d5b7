"""Interpolation of styles in the token space."""

from __future__ import annotations

from collections.abc import Sequence

from velatura.methods.s2prest.style import S2PreSTStyle
from velatura.style import Style
from velatura.style.mixing import mixed_style


def mix_styles(styles: Sequence[tuple[Style, float]]) -> Style:
    """One style whose words and latent are the weighted sums of those of ``styles``; weights are scaled to sum to 1.

    Raises what ``mixed_style`` does, and StyleError for word maps of different shapes.
    """
    mixed = mixed_style(styles)
    if len(styles) > 1:
        _ = S2PreSTStyle.of(mixed).word_map  # refused now, not in the run
    return mixed
