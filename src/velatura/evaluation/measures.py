"""The measures of a benchmark by name: which way each is better, and the functions that take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from velatura.evaluation.content import edge_f1, lpips_hedvgg
from velatura.evaluation.lattice import lattice_ratio
from velatura.evaluation.structure import gradient_agreement, invented_edges, local_structure
from velatura.evaluation.style import colour_distance, feature_distance, gram_distance
from velatura.evaluation.tones import clipped_share, luminance_range

HIGHER, LOWER = 1, -1
COLOUR_SCALE = 10.0  # Lab units that count as a distance of 1: unrelated pictures are about that far apart


@dataclass(frozen=True)
class Measure:
    """A score of a result (1, 3, H, W) against its content and its style; ``better`` is HIGHER or LOWER."""

    name: str
    better: int
    meaning: str
    score: Callable[[Tensor, Tensor, Tensor], float]

    @property
    def title(self) -> str:
        """The name with an arrow that points to the better end."""
        return f"{self.name.replace('_', ' ')} {'↑' if self.better == HIGHER else '↓'}"


_TAKEN = (
    Measure("edge_f1", HIGHER, "content's edges that are there, and no others", lambda r, c, s: edge_f1(r, c)),
    Measure("gradients", HIGHER, "gradients along the content's", lambda r, c, s: gradient_agreement(r, c)),
    Measure(
        "structure", HIGHER, "content's local structure, whatever its colours", lambda r, c, s: local_structure(r, c)
    ),
    Measure(
        "lpips_hedvgg", LOWER, "perceptual distance to the content (not LPIPS)", lambda r, c, s: lpips_hedvgg(r, c)
    ),
    Measure("gram", LOWER, "distance of Gram matrices to the style", lambda r, c, s: gram_distance(r, s)),
    Measure("deep", LOWER, "distance of deep features to the style", lambda r, c, s: feature_distance(r, s)),
    Measure("colour", LOWER, "distance of colours to the style, Lab units", lambda r, c, s: colour_distance(r, s)),
    Measure("clipped", LOWER, "share of pixels at black or white", lambda r, c, s: clipped_share(r)),
    Measure("range", HIGHER, "range of lightness that is left", luminance_range),
    Measure("lattice", LOWER, "8-pixel grid in flat places, 1 is none", lambda r, c, s: lattice_ratio(r, c)),
    Measure("invented", LOWER, "edges where the content is flat", lambda r, c, s: invented_edges(r, c)),
)


def content_score(scores: Mapping[str, float]) -> float:
    """The mean of edge F1, gradient agreement and local structure: 1 for the content itself, about 0 for any other."""
    return (scores["edge_f1"] + scores["gradients"] + scores["structure"]) / 3


def style_score(scores: Mapping[str, float]) -> float:
    """The mean of exp(-distance) over Gram matrices, deep features and colours (10 Lab units as 1): 1 for the style.

    >>> style_score({"gram": 0.0, "deep": 0.0, "colour": 0.0})
    1.0
    """
    distances = (scores["gram"], scores["deep"], scores["colour"] / COLOUR_SCALE)
    return sum(math.exp(-distance) for distance in distances) / len(distances)


CONTENT, STYLE = "content_score", "style_score"  # the axes of the plot
TAKEN: Mapping[str, Measure] = {measure.name: measure for measure in _TAKEN}
COMBINED: Mapping[str, Callable[[Mapping[str, float]], float]] = {CONTENT: content_score, STYLE: style_score}
DIRECTIONS: Mapping[str, int] = {
    CONTENT: HIGHER,
    STYLE: HIGHER,
    **{name: measure.better for name, measure in TAKEN.items()},
}


def scores_of(result: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
    """Every measure of a result against its content, both (1, 3, H, W) in [-1, 1], and a style of any size."""
    taken = {name: float(measure.score(result, content, style)) for name, measure in TAKEN.items()}
    return {**{name: combine(taken) for name, combine in COMBINED.items()}, **taken}
