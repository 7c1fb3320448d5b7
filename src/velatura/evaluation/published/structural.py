"""Content feature structural distance (StyleID), over ImageNet's VGG19."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.evaluation.pixels import PictureLike, aligned_pixels
from velatura.evaluation.published.weights import PublishedWeights
from velatura.models.features.vgg import IMAGENET, VGG19, VGGTrunk, with_published_weights

VGG19_FILE = PublishedWeights(
    "CFSD", (), "vgg19-dcbb9e9d.pth", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
)
LAYER = "relu3_1"
ROWS = 1024  # of the patches' similarities, which are (patches, patches), at a time


@torch.no_grad()
def cfsd(results: PictureLike, contents: PictureLike) -> float:
    """CFSD (Chung et al. 2024, StyleID): pictures (B, 3, H, W) in [-1, 1] of one size; from 0 up, lower is closer.

    The mean over the batch of ``structural_distance`` of VGG19's features after relu3_1. Raises ModelError where the
    weights are missing, ValueError for pictures of unequal sizes.
    """
    VGG19_FILE.check()
    results, contents = aligned_pixels(results, contents)
    trunk = _trunk().to(results.device)
    found, wanted = (trunk.features(pixels.clamp(-1, 1), (LAYER,))[LAYER] for pixels in (results, contents))
    return structural_distance(found, wanted).mean().item()


def structural_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of ``found``'s patch similarities from ``wanted``'s, each (B, C, h, w): (B,).

    Similarities are dot products of features over C squared, a softmax along each row. The paper writes the mean over
    rows; its program, whose figures are the published ones, adds them up, and so does this.
    """
    first, second = (features.flatten(2).transpose(1, 2) / features.shape[1] for features in (found, wanted))
    total = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    for start in range(0, first.shape[1], ROWS):
        rows = slice(start, start + ROWS)
        log_found, log_wanted = (F.log_softmax(x[:, rows] @ x.transpose(1, 2), dim=-1) for x in (first, second))
        total += F.kl_div(log_found, log_wanted, reduction="none", log_target=True).double().sum((1, 2))
    return total


@lru_cache(maxsize=1)
def _trunk() -> VGGTrunk:
    state = torch.load(VGG19_FILE.path, map_location="cpu", weights_only=True)
    return with_published_weights(VGGTrunk("imagenet vgg19", IMAGENET, VGG19), state)
