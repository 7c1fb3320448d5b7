"""A metric of the size of strokes and other fine structure."""

from __future__ import annotations

import math

import torch

from velatura.evaluation.pixels import PictureLike, pixels_of
from velatura.evaluation.places import luminance

LONGEST = 1 / 8  # of the short side: longer waves are things and masses


@torch.no_grad()
def texture_wavelength(picture: PictureLike) -> float:
    """Mean wavelength in pixels of a picture's fine structure: of waves shorter than an eighth of its short side.

    It is one over the root mean square frequency of the luminance under a Hann window; frequencies above half a cycle a
    pixel, which only diagonals have, do not count. A picture that is enlarged twice has twice the wavelength; one whose
    strokes stay as small as they were has the same. Pictures are (B, 3, H, W) in [-1, 1]; NaN for one without any
    structure.

    >>> import torch
    >>> waves = torch.cos(torch.arange(128) * 2 * torch.pi / 8).expand(1, 3, 128, 128)
    >>> round(texture_wavelength(waves), 1)
    8.0
    """
    light = luminance(pixels_of(picture).float())
    height, width = light.shape[-2:]
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    power = torch.fft.fft2((light - light.mean((-2, -1), keepdim=True)) * window.to(light)).abs().square()
    squared = torch.fft.fftfreq(height)[:, None].square() + torch.fft.fftfreq(width).square()
    fine = (squared > (LONGEST * min(height, width)) ** -2) & (squared < 0.25)
    power, squared = power[..., fine.to(power.device)], squared[fine].to(power)
    return math.sqrt(float(power.sum())) / math.sqrt(float((power * squared).sum())) if power.any() else math.nan
