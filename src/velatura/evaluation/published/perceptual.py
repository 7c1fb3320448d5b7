"""LPIPS, with ImageNet's VGG16."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.evaluation.pixels import PictureLike, aligned_pixels
from velatura.evaluation.published.weights import PublishedWeights

VGG16 = PublishedWeights(
    "LPIPS", ("torchvision",), "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth"
)


@torch.no_grad()
def lpips(results: PictureLike, contents: PictureLike) -> float:
    """LPIPS (Zhang et al. 2018) with ImageNet's VGG16: pictures (B, 3, H, W) in [-1, 1]; from 0 up, lower is closer.

    The mean over the batch, by torchmetrics. Raises ModelError where the weights or torchvision are missing.
    """
    VGG16.check()
    results, contents = aligned_pixels(results, contents)
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    value: Tensor = learned_perceptual_image_patch_similarity(results.clamp(-1, 1), contents.clamp(-1, 1), "vgg")
    return value.item()
