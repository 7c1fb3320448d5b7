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

HIGHER, LOWER, AT_ONE = 1, -1, 0  # a measure's better end; at one: 1 is best, and worse on both sides
ARROWS = {HIGHER: "↑", LOWER: "↓", AT_ONE: "→ 1"}
COLOUR_SCALE = 10.0  # Lab units that count as a distance of 1: unrelated pictures are about that far apart


Mask = Tensor | None  # (1, 1, H, W) in [0, 1]: where it is measured; None: everywhere


@dataclass(frozen=True)
class Measure:
    """A score of a result (1, 3, H, W) against its content and its style in a mask.

    ``better`` is HIGHER, LOWER or AT_ONE.
    """

    name: str
    better: int
    meaning: str
    score: Callable[[Tensor, Tensor, Tensor, Mask], float]


_TAKEN = (
    Measure(
        "edge_f1", HIGHER, "content's edges that are there, and no others", lambda r, c, s, m: edge_f1(r, c, mask=m)
    ),
    Measure("gradients", HIGHER, "gradients along the content's", lambda r, c, s, m: gradient_agreement(r, c, m)),
    Measure(
        "structure",
        HIGHER,
        "content's local structure, whatever its colours",
        lambda r, c, s, m: local_structure(r, c, m),
    ),
    Measure(
        "lpips_hedvgg",
        LOWER,
        "perceptual distance to the content (not LPIPS)",
        lambda r, c, s, m: lpips_hedvgg(r, c, m),
    ),
    # Gram matrices of few positions say little: the whole picture's, whatever the mask.
    Measure("gram", LOWER, "distance of Gram matrices to the style", lambda r, c, s, m: gram_distance(r, s)),
    Measure("deep", LOWER, "distance of deep features to the style", lambda r, c, s, m: feature_distance(r, s, m)),
    Measure(
        "colour", LOWER, "distance of colours to the style, Lab units", lambda r, c, s, m: colour_distance(r, s, mask=m)
    ),
    Measure("clipped", LOWER, "share of pixels at black or white", lambda r, c, s, m: clipped_share(r, m)),
    Measure("range", AT_ONE, "range of lightness that is left, 1 is all of it", luminance_range),
    Measure(
        "lattice",
        AT_ONE,
        "8-pixel grid in flat places, 1 is the content's own",
        lambda r, c, s, m: lattice_ratio(r, c, m),
    ),
    Measure("invented", LOWER, "edges where the content is flat", lambda r, c, s, m: invented_edges(r, c, m)),
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


def title(name: str) -> str:
    """A measure's name for a table, with an arrow to its better end.

    >>> title("content_score"), title("edge_f1"), title("gram"), title("range")
    ('content ↑', 'edge f1 ↑', 'gram ↓', 'range → 1')
    """
    return f"{name.removesuffix('_score').replace('_', ' ')} {ARROWS[DIRECTIONS[name]]}"


def goodness(value: float, better: int) -> float:
    """A score as a number that is higher the better it is: itself, its negative, or its negative distance from 1.

    >>> goodness(0.5, HIGHER), goodness(0.5, LOWER), goodness(1.25, AT_ONE)
    (0.5, -0.5, -0.25)
    """
    return -abs(value - 1) if better == AT_ONE else better * value


NOTHING: Mapping[str, float] = {}


def scores_of(
    result: Tensor, content: Tensor, style: Tensor, mask: Mask = None, known: Mapping[str, float] = NOTHING
) -> dict[str, float]:
    """Every measure of a result against its content, both (1, 3, H, W) in [-1, 1], and a style of any size.

    Measures are taken inside ``mask``; those that are ``known`` are taken over.
    """
    taken = {
        name: known[name] if name in known else float(measure.score(result, content, style, mask))
        for name, measure in TAKEN.items()
    }
    return {**{name: combine(taken) for name, combine in COMBINED.items()}, **taken}
