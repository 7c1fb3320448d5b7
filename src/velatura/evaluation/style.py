"""Metrics of style: how close a result came to the style picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.evaluation.pixels import PictureLike, paired_pixels
from velatura.evaluation.places import inside
from velatura.evaluation.trunk_features import DEEP_LAYERS, trunk_features
from velatura.losses.gram import STYLE_LAYERS, gram_matrix, relative_gram_distance
from velatura.losses.wasserstein import Sliced, unit_directions
from velatura.models.features.magenta import style_vectors


@torch.no_grad()
def gram_distance(result: PictureLike, style: PictureLike) -> float:
    """Relative distance of Gram matrices (Gatys et al. 2016) over the HED-trained VGG16 trunk, of pictures
    (B, 3, H, W) in [-1, 1] of any sizes: 0 for equal textures, about 1 for unrelated ones.
    """
    result, style = paired_pixels(result, style)
    ours, theirs = (
        {layer: gram_matrix(trunk_features(pixels)[layer]) for layer in STYLE_LAYERS} for pixels in (result, style)
    )
    return relative_gram_distance(ours, theirs).item()


@torch.no_grad()
def feature_distance(
    result: PictureLike, style: PictureLike, mask: Tensor | None = None, directions: int = 128
) -> float:
    """Sliced Wasserstein-1 distance of deep features ("deep" in tables): the mean over relu3_1, relu4_1 and relu5_1 of
    the HED-trained VGG16 trunk, along fixed random ``directions``, in the style's deviations along each.

    0 for equal distributions, whatever their places; two unrelated pictures are about 1 apart; lower is closer.
    Pictures are (B, 3, H, W) in [-1, 1] of any sizes; ``mask`` (1, 1, H, W) says which of the result's features count.
    After Heitz et al. 2021.
    """
    result, style = paired_pixels(result, style)
    generator = torch.Generator().manual_seed(0)
    ours, theirs = trunk_features(result), trunk_features(style)
    distances = []
    for layer in DEEP_LAYERS:
        target = inside(theirs[layer], None)
        sliced = Sliced.of(target, unit_directions(directions, len(target), generator))
        deviations = sliced.along.std(1, keepdim=True).clamp(min=1e-6)
        scaled = Sliced(sliced.directions / deviations, sliced.along / deviations)
        distances.append(scaled.distance(inside(ours[layer], mask)))
    return torch.stack(distances).mean().item()


def magenta_similarity(result: PictureLike, style: PictureLike, mean: Tensor) -> float:
    """Cosine similarity of the pictures' Magenta style vectors (Ghiasi et al. 2017) about ``mean`` (100,), the mean
    vector of many pictures.

    Pictures are (B, 3, H, W) in [-1, 1] of any sizes. From -1 to 1; unrelated pictures score 0.00 +- 0.34. Without the
    mean any two score above 0.9.
    """
    result, style = paired_pixels(result, style)
    ours, theirs = (style_vectors(pixels).cpu() - mean.cpu() for pixels in (result, style))
    return F.cosine_similarity(ours, theirs).mean().item()


@torch.no_grad()
def colour_distance(
    result: PictureLike, style: PictureLike, directions: int = 64, samples: int = 4096, mask: Tensor | None = None
) -> float:
    """Sliced Wasserstein-1 distance of the pictures' colours in CIE Lab, in Lab units; 0 for equal palettes.

    Pictures are (B, 3, H, W) in [-1, 1] of any sizes. Both palettes are compared at ``samples`` quantiles along
    ``directions`` fixed random directions; of the result where ``mask`` (1, 1, H, W) is over a half.
    """
    result, style = paired_pixels(result, style)
    from kornia.color import rgb_to_lab

    generator = torch.Generator().manual_seed(0)
    axes = F.normalize(torch.randn(3, directions, generator=generator), dim=0)
    levels = (torch.arange(samples) + 0.5) / samples
    quantiles = []
    for pixels, where in ((result, mask), (style, None)):
        lab: Tensor = rgb_to_lab((pixels.clamp(-1, 1).float().cpu() + 1) / 2)
        along = np.sort((axes.T @ inside(lab, where)).numpy(), axis=1)  # torch's also sorts indices: much slower
        quantiles.append(along[:, (levels * along.shape[1]).long().numpy()])
    return float(np.abs(quantiles[0] - quantiles[1]).mean())
