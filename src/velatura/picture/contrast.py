"""The contrast of a picture by scale, and moving a picture to that of another: tone into lines, lines into tone.

Bands of CIE Lab lightness between Gaussian blurs of growing width, as in "Multi-scale image harmonization"
(Sunkavalli et al. 2010): an ink drawing has most of its contrast in fine bands, a glazed painting in coarse ones.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from velatura.picture.blur import blurred

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)  # px: the blurs between the bands
LEAST = 0.6  # gain of a band: less would blur what the content shows
MOST = (3.0, 3.0, 2.2, 1.4, 1.2, 1.2)  # gain of each band: more in the coarse ones would show as halos
NOISE = 0.5  # of a band's standard deviation: where its local contrast is less, it is not raised


@torch.no_grad()
def contrast_of(pixels: Tensor, shares: Tensor | None = None) -> Tensor:
    """Each band's share (6,) of the contrast of lightness of (1, 3, H, W) in [-1, 1], from fine to coarse; the squares
    sum to 1. ``shares`` (1, 1, H, W), not all zero, are the pixels' weights.
    """
    weights = torch.ones_like(pixels[:, :1]) if shares is None else shares.to(pixels)
    return _shares(_bands(_lab(pixels)[:, :1]), weights)


@torch.no_grad()
def match_contrast(pixels: Tensor, wanted: Tensor, share: float, shares: Tensor | None = None) -> Tensor:
    """Raise and lower the bands of pixels (1, 3, H, W) in [-1, 1] towards the ``wanted`` shares (6,) of the contrast.

    Gains lie between 0.6 and 1.2 (coarse) to 3 (fine); noise is not raised. Mean and contrast of all bands together,
    and chroma, stay. ``share`` (0..1) is how far to go; ``shares`` are weights as in ``contrast_of``.
    """
    if not share:
        return pixels
    from kornia.color import lab_to_rgb

    weights = torch.ones_like(pixels[:, :1]) if shares is None else shares.to(pixels)
    lab = _lab(pixels)
    lightness = lab[:, :1]
    bands = _bands(lightness)
    gains = (wanted.to(lab) / _shares(bands, weights).clamp(min=1e-3)) ** share
    moved = torch.zeros_like(lightness)
    for band, gain, most, sigma in zip(bands, gains, MOST, (*SIGMAS, 0.0), strict=True):
        bounded = gain.clamp(LEAST, most)
        if sigma and bounded > 1:
            energy = blurred(band.square(), 2 * sigma)
            bounded = 1 + (bounded - 1) * energy / (energy + NOISE**2 * _variance(band, weights) + 1e-6)
        moved = moved + bounded * band
    scale = (_variance(lightness, weights) / _variance(moved, weights).clamp(min=1e-6)).sqrt()
    toned = _mean(lightness, weights) + scale * (moved - _mean(moved, weights))
    rgb: Tensor = lab_to_rgb(torch.cat([toned.clamp(0, 100), lab[:, 1:]], 1))
    return (2 * rgb - 1).clamp(-1, 1).to(pixels)


def _lab(pixels: Tensor) -> Tensor:
    from kornia.color import rgb_to_lab

    lab: Tensor = rgb_to_lab((pixels.clamp(-1, 1).float() + 1) / 2)
    return lab


def _bands(lightness: Tensor) -> list[Tensor]:
    """Six bands whose sum is the lightness (1, 1, H, W), from fine to coarse."""
    blurs = [lightness, *(blurred(lightness, sigma) for sigma in SIGMAS)]
    return [*(fine - coarse for fine, coarse in itertools.pairwise(blurs)), blurs[-1]]


def _mean(maps: Tensor, weights: Tensor) -> Tensor:
    return (maps * weights).sum() / weights.sum()


def _variance(maps: Tensor, weights: Tensor) -> Tensor:
    return _mean((maps - _mean(maps, weights)).square(), weights)


def _shares(bands: list[Tensor], weights: Tensor) -> Tensor:
    variances = torch.stack([_variance(band, weights) for band in bands])
    return (variances / variances.sum().clamp(min=1e-6)).sqrt()
