"""The scores of a result that a page adds to the run's own."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from velatura import evaluation
from velatura.picture import image_to_pixels, plan_size

SIDE = 256  # pixels of the short side at which pictures are measured


def measured(result: Image.Image, content: Image.Image, styles: Sequence[Image.Image]) -> dict[str, float]:
    """Scores of a result against its content and, where there is one style picture, against that; by name."""
    ours = image_to_pixels(result, plan_size(content.size, SIDE, 8).working)
    theirs = image_to_pixels(content, plan_size(content.size, SIDE, 8).working)
    found = {
        "edge_f1": evaluation.edge_f1(ours, theirs),
        "lpips_hedvgg": evaluation.lpips_hedvgg(ours, theirs),
        "local_structure": evaluation.local_structure(ours, theirs),
        "clipped_share": evaluation.clipped_share(ours),
    }
    if len(styles) == 1:
        style = image_to_pixels(styles[0], plan_size(styles[0].size, SIDE, 8).working)
        found |= {
            "gram_distance": evaluation.gram_distance(ours, style),
            "feature_distance": evaluation.feature_distance(ours, style),
            "colour_distance": evaluation.colour_distance(ours, style),
        }
    return found
