"""FID, and the form of ArtFID."""

from __future__ import annotations

import math

import torch

from velatura.evaluation.pixels import PictureLike, pixels_of
from velatura.evaluation.published.weights import PublishedWeights

INCEPTION = PublishedWeights(
    "FID",
    ("torch-fidelity",),
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)


@torch.no_grad()
def fid(results: PictureLike, styles: PictureLike) -> float:
    """FID (Heusel et al. 2017) of two sets of pictures (N, 3, H, W) in [-1, 1], N at least 2; lower is closer.

    By torchmetrics over torch-fidelity's Inception. Published figures are of thousands of pictures: FID falls with
    their number. Raises ModelError where the weights or torch-fidelity are missing.
    """
    INCEPTION.check()
    results, styles = pixels_of(results), pixels_of(styles)
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(normalize=True)
    metric.update((styles.clamp(-1, 1) + 1) / 2, real=True)
    metric.update((results.clamp(-1, 1) + 1) / 2, real=False)
    return float(metric.compute())


def art_fid(content_distance: float, style_distance: float) -> float:
    """(1 + LPIPS) (1 + FID), the form of ArtFID (Wright & Ommer 2022); from 1 up, lower is better.

    It is ArtFID only of LPIPS and of an FID with ArtFID's own Inception, trained on paintings. Raises ValueError for
    distances that are negative or not finite.

    >>> art_fid(0.5, 19.0)
    30.0
    """
    if not all(math.isfinite(one) and one >= 0 for one in (content_distance, style_distance)):
        raise ValueError(f"distances must be finite and not negative, not {content_distance} and {style_distance}")
    return (1 + content_distance) * (1 + style_distance)
