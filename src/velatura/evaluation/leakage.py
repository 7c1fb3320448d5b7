"""Metrics of leakage: how much of the style picture's own content and lines went into a result."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from velatura.evaluation.content import edge_f1
from velatura.evaluation.pixels import PictureLike, aligned_pixels, paired_pixels
from velatura.models.features.efficientnet_lite import efficientnet_lite0, imagenet_classifier


@torch.no_grad()
def class_overlap(one: PictureLike, other: PictureLike) -> float:
    """Bhattacharyya coefficient of EfficientNet-Lite0's ImageNet probabilities for two pictures (B, 3, H, W) in
    [-1, 1]: from 0 (no class shared) to 1 (equal probabilities).

    Raises ModelError where the classifier's wheel is not installed.
    """
    one, other = paired_pixels(one, other)
    cpu = torch.device("cpu")
    network, classifier = efficientnet_lite0(cpu), imagenet_classifier(cpu)
    ours, theirs = (classifier(network.features(pixels.cpu())).softmax(-1) for pixels in (one, other))
    overlap: float = (ours * theirs).sqrt().sum(-1).mean().item()
    return overlap


def content_leak(result: PictureLike, content: PictureLike, style: PictureLike) -> float:
    """How much the class overlap with the style picture rose from content to result: from -1 to 1, 0 is no leak.

    All three pictures, (B, 3, H, W) in [-1, 1], are compared in gray. The network is the one that replaces CLIP in the
    losses where CLIP is not at hand: what such losses gain in style shows here as leak.
    """
    result, content = aligned_pixels(result, content)
    result, style = paired_pixels(result, style)
    gray = [pixels.mean(1, keepdim=True).expand_as(pixels) for pixels in (result, content, style)]
    return class_overlap(gray[0], gray[2]) - class_overlap(gray[1], gray[2])


def outline_leak(result: PictureLike, content: PictureLike, style: PictureLike) -> float:
    """How much the edge F1 with the style picture, resized, rose from content to result: from -1 to 1, 0 is no leak."""
    result, content = aligned_pixels(result, content)
    result, style = paired_pixels(result, style)
    sized = F.interpolate(style, result.shape[2:], mode="bicubic", antialias=True).clamp(-1, 1)
    return edge_f1(result, sized) - edge_f1(content, sized)
