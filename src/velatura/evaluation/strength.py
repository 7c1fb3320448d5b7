"""The strength for one pair of content and style: the knee of content against style among a few results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from velatura.evaluation.measures import TAKEN, content_score, style_score

CONTENT_MEASURES, STYLE_MEASURES = ("edge_f1", "gradients", "structure"), ("gram", "deep", "colour")
LESS, MORE = 0.6, 1.4  # of a method's own strength, on its two sides


def tried_strengths(own: float) -> tuple[float, ...]:
    """The strengths that are tried about a method's ``own``, in (0, 1], falling.

    Falling, because a shorter inversion is part of a longer one: the three share the first.

    >>> tried_strengths(0.5), tried_strengths(1.0)
    ((0.7, 0.5, 0.3), (1.0, 0.8, 0.6))
    """
    more = min(1.0, round(own * MORE, 3))
    middle = own if more > own else own * (LESS + 1) / 2
    return more, round(middle, 3), round(own * LESS, 3)


@dataclass(frozen=True)
class Tried:
    """A strength and where its result lies between content and style: both scores are 1 for the picture itself."""

    strength: float
    content: float
    style: float

    @property
    def above_chord(self) -> float:
        """How far it lies above the chord from the style (0, 1) to the content (1, 0), where one is given for the
        other.
        """
        return self.content + self.style - 1


def tried(strength: float, result: Tensor, content: Tensor, styles: Sequence[tuple[Tensor, float]]) -> Tried:
    """A result (1, 3, H, W) at a strength by ``content_score`` and ``style_score`` of the benchmark.

    ``styles`` are pictures (1, 3, h, w) with weights, for a mix: its score is their weighted mean.
    """
    kept = {name: float(TAKEN[name].score(result, content, content, None)) for name in CONTENT_MEASURES}
    total = sum(weight for _, weight in styles)
    reached = sum(
        weight * style_score({name: float(TAKEN[name].score(result, content, style, None)) for name in STYLE_MEASURES})
        for style, weight in styles
    )
    return Tried(strength, content_score(kept), reached / total)


def knee(found: Sequence[Tried]) -> int:
    """The index of the one farthest above the chord between content and style; the weakest of equal ones.

    >>> knee([Tried(0.7, 0.5, 0.7), Tried(0.5, 0.7, 0.65), Tried(0.3, 0.8, 0.4)])
    1
    """
    return max(range(len(found)), key=lambda index: (found[index].above_chord, -found[index].strength))
