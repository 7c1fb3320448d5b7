"""How much of the style picture's own content has leaked into a result, and of its lines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.evaluation.content import edge_f1
from velatura.models.efficientnet import efficientnet_lite0


@torch.no_grad()
def class_overlap(one: Tensor, other: Tensor) -> float:
    """How alike EfficientNet-Lite0 names what is in two pictures: Bhattacharyya coefficient of its ImageNet
    probabilities, from 0 to 1.
    """
    network = efficientnet_lite0(torch.device("cpu"))
    ours, theirs = (
        network.logits(network.features(pixels.float().cpu())).float().softmax(-1) for pixels in (one, other)
    )
    return (ours * theirs).sqrt().sum(-1).mean().item()


def content_leak(result: Tensor, content: Tensor, style: Tensor) -> float:
    """How much more the result is named like the style picture than the content was, in -1..1; 0 is no leak.

    A colour-blind measure: all three are looked at in gray. The same network stands in for CLIP in the losses
    offline, so it flatters none of those that use it: what they gain there shows here as leak.
    """
    gray = [pixels.mean(1, keepdim=True).expand_as(pixels) for pixels in (result, content, style)]
    return class_overlap(gray[0], gray[2]) - class_overlap(gray[1], gray[2])


def outline_leak(result: Tensor, content: Tensor, style: Tensor) -> float:
    """How many more of the style picture's edges stand in the result than in the content (difference of edge F1)."""
    sized = F.interpolate(style, result.shape[2:], mode="bicubic", antialias=True).clamp(-1, 1)
    return edge_f1(result, sized) - edge_f1(content, sized)
