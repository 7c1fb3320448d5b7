"""Metrics of content preservation: how close a result stayed to its content."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.evaluation.pixels import PictureLike, aligned_pixels
from velatura.evaluation.places import weighted_mean, weights_like
from velatura.evaluation.trunk_features import trunk_features
from velatura.models.features.lpips_heads import lpips_heads


def psnr(result: PictureLike, content: PictureLike) -> float:
    """Peak signal-to-noise ratio of pictures (B, 3, H, W) in [-1, 1], in dB; higher is closer, inf for equal pictures.

    The mean over the batch.

    >>> import torch
    >>> round(psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2)), 2)
    20.0
    """
    result, content = aligned_pixels(result, content)
    from torchmetrics.functional.image import peak_signal_noise_ratio

    value: Tensor = peak_signal_noise_ratio(
        result.clamp(-1, 1), content.clamp(-1, 1), data_range=2.0, reduction="elementwise_mean", dim=(1, 2, 3)
    )
    return value.item()


def ssim(result: PictureLike, content: PictureLike) -> float:
    """Structural similarity (Wang et al. 2004) of pictures (B, 3, H, W) in [-1, 1]: from -1 to 1, 1 for equal pictures.

    >>> import torch
    >>> pixels = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    >>> round(ssim(pixels, pixels), 4)
    1.0
    """
    result, content = aligned_pixels(result, content)
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(result.clamp(-1, 1), content.clamp(-1, 1), data_range=2.0)
    if not isinstance(value, Tensor):
        raise TypeError("structural_similarity_index_measure returned more than a number")
    return value.item()


def canny_edges(pixels: Tensor, low: float = 0.1, high: float = 0.2) -> Tensor:
    """Canny's thinned edges of pictures (B, 3, H, W) in [-1, 1] by two thresholds: (B, 1, H, W), bool."""
    from kornia.filters import canny

    _, edges = canny((pixels.clamp(-1, 1).float() + 1) / 2, low_threshold=low, high_threshold=high)
    found: Tensor = edges > 0
    return found


def grown(edges: Tensor, reach: int) -> Tensor:
    """What lies within a square of ``reach`` pixels around ``edges`` (B, 1, H, W), bool."""
    return F.max_pool2d(edges.float(), 2 * reach + 1, stride=1, padding=reach) > 0


def edge_f1(result: PictureLike, content: PictureLike, tolerance: int = 2, mask: Tensor | None = None) -> float:
    """F1 score of the result's Canny edges against the content's, matched within ``tolerance`` pixels.

    Pictures are (B, 3, H, W) in [-1, 1], ``mask`` (1, 1, H, W): only the edges where it is over a half count, but they
    are matched with any. From 0 (no edge matches) to 1, which is also the score of two pictures without edges.

    >>> import torch
    >>> pixels = torch.zeros(1, 3, 32, 32)
    >>> pixels[..., 16:] = 1
    >>> edge_f1(pixels, pixels), edge_f1(pixels, -torch.ones(1, 3, 32, 32))
    (1.0, 0.0)
    """
    result, content = aligned_pixels(result, content)
    ours, theirs = canny_edges(result), canny_edges(content)
    counted = weights_like(content, mask) > 0.5
    found, wanted = ours & counted, theirs & counted
    if not found.any() and not wanted.any():
        return 1.0
    precise = (found & grown(theirs, tolerance)).sum() / found.sum().clamp(min=1)
    complete = (wanted & grown(ours, tolerance)).sum() / wanted.sum().clamp(min=1)
    return (2 * precise * complete / (precise + complete).clamp(min=1e-12)).item()


@torch.no_grad()
def lpips_hedvgg(result: PictureLike, content: PictureLike, mask: Tensor | None = None) -> float:
    """Perceptual distance of pictures (B, 3, H, W) in [-1, 1]: LPIPS's linear heads (Zhang et al. 2018) over the
    HED-trained VGG16 trunk; from 0, for equal pictures, upwards. With a ``mask`` (1, 1, H, W) in [0, 1], the distance
    there.

    This is not LPIPS, whose heads were trained over ImageNet's trunk: it ranks distortions alike, but its values do not
    compare with published ones.
    """
    result, content = aligned_pixels(result, content)
    ours, theirs = trunk_features(result), trunk_features(content)
    distances = [
        (head * (F.normalize(ours[layer], eps=1e-10) - F.normalize(theirs[layer], eps=1e-10)).square()).sum(1, True)
        for layer, head in lpips_heads().items()
    ]
    distances = [weighted_mean(distance, weights_like(distance, mask)) for distance in distances]
    return torch.stack(distances).sum().item()
