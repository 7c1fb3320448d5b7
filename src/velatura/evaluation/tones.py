"""Metrics of tones: what was clipped, what is left of the range of light and dark, how sharp a region is."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.evaluation.pixels import PictureLike, aligned_pixels, paired_pixels, pixels_of
from velatura.evaluation.places import BLACK, WHITE, inside, luminance, weighted_mean, weights_like
from velatura.picture.blur import blurred


def clipped_share(result: PictureLike, mask: Tensor | None = None) -> float:
    """Share of a picture's pixels with a channel at its end, at most 1/255 or at least 254/255: from 0 to 1.

    Lower is better, but a style that is black or white itself has some. Pictures are (B, 3, H, W) in [-1, 1], ``mask``
    (1, 1, H, W), taken where it is over a half.

    >>> import torch
    >>> clipped_share(torch.tensor([-1.0, 0.0, 0.5, 1.0]).expand(1, 3, 1, 4))
    0.5
    """
    result = pixels_of(result)
    values = inside((result.clamp(-1, 1).float() + 1) / 2, mask)
    margin = 0.1 / 255  # what rounding leaves of a level
    ends = (values <= BLACK + margin) | (values >= WHITE - margin)
    return ends.any(0).float().mean().item()


def _lightness_range(pixels: Tensor, mask: Tensor | None) -> Tensor:
    """From the 5th to the 95th percentile of CIE L*, 0 to 100."""
    from kornia.color import rgb_to_lab

    lightness = inside(rgb_to_lab((pixels.clamp(-1, 1).float() + 1) / 2)[:, :1], mask)[0]
    ordered = lightness.sort().values
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.05, 0.95))
    return high - low


@torch.no_grad()
def luminance_range(result: PictureLike, content: PictureLike, style: PictureLike, mask: Tensor | None = None) -> float:
    """The result's range of CIE L* (5th to 95th percentile) over the smaller of content's and style's.

    From 0, all of one lightness; 1 keeps the range, over 1 is more contrast than that. Pictures are (B, 3, H, W) in
    [-1, 1], the style of any size and taken as a whole; ``mask`` (1, 1, H, W) is taken where it is over a half.

    >>> import torch
    >>> ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    >>> round(luminance_range(ramp, ramp, ramp), 2), round(luminance_range(0 * ramp, ramp, ramp), 2)
    (1.0, 0.0)
    """
    result, content = aligned_pixels(result, content)
    result, style = paired_pixels(result, style)
    least = torch.minimum(_lightness_range(content, mask), _lightness_range(style, None))
    return (_lightness_range(result, mask) / least.clamp(min=1.0)).item()


@torch.no_grad()
def region_sharpness(result: PictureLike, content: PictureLike, mask: Tensor, sigma: float = 1.5) -> float:
    """How sharp a region is against its surroundings, in units of how it was in the content: 1 as before, less softer.

    (the result's fine detail inside the mask / outside) / (the content's inside / outside); the detail is the RMS of
    luminance minus its Gaussian blur of ``sigma`` pixels. Detail of less than a level of 255 counts as one. Pictures
    are (B, 3, H, W) in [-1, 1], ``mask`` (1, 1, H, W) in [0, 1].

    >>> import torch
    >>> from velatura.picture.blur import blurred
    >>> pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    >>> mask = torch.zeros(1, 1, 32, 32)
    >>> mask[..., :16] = 1
    >>> softened = mask * blurred(pixels, 2.0) + (1 - mask) * pixels
    >>> region_sharpness(pixels, pixels, mask), region_sharpness(softened, pixels, mask) < 0.5
    (1.0, True)
    """
    result, content = aligned_pixels(result, content)

    def contrast(pixels: Tensor) -> Tensor:
        values = luminance(pixels)
        energy, weights = (values - blurred(values, sigma)).square(), weights_like(values, mask)
        inner, outer = (weighted_mean(energy, part).sqrt().clamp(min=1 / 255) for part in (weights, 1 - weights))
        return inner / outer

    return (contrast(result) / contrast(content)).item()
