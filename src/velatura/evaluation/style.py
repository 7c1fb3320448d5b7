"""Metrics of style: how close a result came to the style picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.gram import STYLE_LAYERS, gram_matrix, relative_gram_distance
from velatura.models.features.magenta import style_vectors
from velatura.models.features.vgg import hed_trunk


@torch.no_grad()
def gram_distance(result: Tensor, style: Tensor) -> float:
    """Relative distance of Gram matrices (Gatys et al. 2016) over the HED-trained VGG16 trunk, of pictures
    (B, 3, H, W) in [-1, 1] of any sizes: 0 for equal textures, about 1 for unrelated ones.
    """
    trunk = hed_trunk()
    ours, theirs = (
        {layer: gram_matrix(value) for layer, value in trunk.features(pixels.float().cpu(), STYLE_LAYERS).items()}
        for pixels in (result, style)
    )
    return relative_gram_distance(ours, theirs).item()


def magenta_similarity(result: Tensor, style: Tensor, mean: Tensor) -> float:
    """Cosine similarity of the pictures' Magenta style vectors (Ghiasi et al. 2017) about ``mean`` (100,), the mean
    vector of many pictures.

    Pictures are (B, 3, H, W) in [-1, 1] of any sizes. From -1 to 1; unrelated pictures score 0.00 +- 0.34. Without the
    mean any two score above 0.9.
    """
    ours, theirs = (style_vectors(pixels).cpu() - mean.cpu() for pixels in (result, style))
    return F.cosine_similarity(ours, theirs).mean().item()


@torch.no_grad()
def colour_distance(result: Tensor, style: Tensor, directions: int = 64, samples: int = 4096) -> float:
    """Sliced Wasserstein-1 distance of the pictures' colours in CIE Lab, in Lab units; 0 for equal palettes.

    Pictures are (B, 3, H, W) in [-1, 1] of any sizes. Both palettes are compared at ``samples`` quantiles along
    ``directions`` fixed random directions.
    """
    from kornia.color import rgb_to_lab

    generator = torch.Generator().manual_seed(0)
    axes = F.normalize(torch.randn(3, directions, generator=generator), dim=0)
    levels = (torch.arange(samples) + 0.5) / samples
    quantiles = []
    for pixels in (result, style):
        lab: Tensor = rgb_to_lab((pixels.clamp(-1, 1).float().cpu() + 1) / 2)
        along = (lab.transpose(0, 1).flatten(1).T @ axes).sort(dim=0).values
        quantiles.append(along[(levels * len(along)).long()])
    return (quantiles[0] - quantiles[1]).abs().mean().item()
