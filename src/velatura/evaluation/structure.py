"""Metrics of structure that survives recolouring, and of structure that nobody ordered."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.evaluation.content import canny_edges, grown
from velatura.evaluation.pixels import PictureLike, aligned_pixels
from velatura.evaluation.places import local_deviation, luminance, weighted_mean, weights_like
from velatura.picture.blur import blurred

GRADIENT_SCALES = (1.0, 3.0)  # sigma in pixels: lines, and the larger shapes
NOISE = 1 / 255  # a gradient of this size, in luminance a pixel, is as good as none
FAINT = 1e-6


def _gradients(pixels: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Central differences of the blurred luminance, across and down: each (B, 1, H, W)."""
    padded = F.pad(blurred(luminance(pixels), sigma), (1, 1, 1, 1), mode="replicate")
    across, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return across / 2, down / 2


@torch.no_grad()
def gradient_agreement(result: PictureLike, content: PictureLike, mask: Tensor | None = None) -> float:
    """How far the luminance gradients of a result lie along the content's, whatever their sign and size.

    The mean of cos 2a, where a is the angle between the gradients, weighted by the content's gradient and counted less
    where the result has hardly any; at two scales (sigma 1 and 3 pixels). From -1 (everything turned by 90 degrees)
    over 0 (unrelated, or nothing left) to 1; higher keeps more. Pictures are (B, 3, H, W) in [-1, 1], ``mask``
    (1, 1, H, W) in [0, 1]. After the orientation tensor of Bigun & Granlund 1987.

    >>> import torch
    >>> ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    >>> [round(gradient_agreement(other, ramp), 1) for other in (ramp, -ramp, ramp.mT, 0 * ramp)]
    [1.0, 1.0, -1.0, 0.0]
    """
    result, content = aligned_pixels(result, content)
    scores = []
    for sigma in GRADIENT_SCALES:
        (x, y), (u, v) = _gradients(result, sigma), _gradients(content, sigma)
        ours, theirs = x.square() + y.square(), u.square() + v.square()
        cos = (x * u + y * v) / (ours * theirs).sqrt().clamp(min=1e-12)
        present = (ours.sqrt() / theirs.sqrt().clamp(1e-9, NOISE / sigma)).clamp(max=1)
        weights = theirs.sqrt() * weights_like(theirs, mask)
        scores.append(weighted_mean((2 * cos.square() - 1) * present, weights))
    return torch.stack(scores).mean().item()


@torch.no_grad()
def local_structure(result: PictureLike, content: PictureLike, mask: Tensor | None = None, sigma: float = 1.5) -> float:
    """SSIM's contrast and structure terms on luminance, blind to a change of sign and of the contrast as a whole.

    (2 |cov| + C2) / (var + var' + C2) in Gaussian windows of ``sigma`` pixels (Wang et al. 2004), after both pictures'
    luminance was divided by its deviation; the mean weighted by the content's local deviation, so that flat places say
    little. From 0 to 1; equal, recoloured and inverted pictures score 1, unrelated textures about 0.15. Pictures are
    (B, 3, H, W) in [-1, 1], ``mask`` (1, 1, H, W) in [0, 1].

    >>> import torch
    >>> pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    >>> [round(local_structure(other, pixels), 1) for other in (pixels, -pixels / 2, 0 * pixels)]
    [1.0, 1.0, 0.0]
    """
    result, content = aligned_pixels(result, content)
    weights = weights_like(content, mask)

    def standardised(pixels: Tensor) -> Tensor:
        values = luminance(pixels)
        centred = values - weighted_mean(values, weights)
        return centred / weighted_mean(centred.square(), weights).sqrt().clamp(min=0.02)

    ours, theirs = standardised(result), standardised(content)
    a, b = blurred(ours, sigma), blurred(theirs, sigma)
    spread_a, spread_b = blurred(ours.square(), sigma) - a.square(), blurred(theirs.square(), sigma) - b.square()
    together = blurred(ours * theirs, sigma) - a * b
    # C2 of SSIM is (0.03 L)^2: here L, the range of the values, is about 4 deviations.
    constant = (0.03 * 4) ** 2
    kept = (2 * together.abs() + constant) / (spread_a + spread_b + constant)
    return weighted_mean(kept.clamp(0, 1), weights * spread_b.clamp(min=FAINT).sqrt()).item()


@torch.no_grad()
def invented_edges(
    result: PictureLike, content: PictureLike, mask: Tensor | None = None, apart: int = 4, flat: float = 0.03
) -> float:
    """Share of a content's flat area that the result covers with edges of its own: from 0 upwards, lower is calmer.

    Flat is where the content's luminance, in [0, 1], deviates by less than ``flat`` in Gaussian windows of 4 pixels,
    and where no edge of the content, faint ones too, is nearer than ``apart`` pixels. The edges are Canny's, one pixel
    wide: 0.05 is a line every twenty pixels. 0 where nothing is flat. Pictures are (B, 3, H, W) in [-1, 1], ``mask``
    (1, 1, H, W) in [0, 1].

    >>> import torch
    >>> content, line = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    >>> line[..., 32:] = 1
    >>> invented_edges(content, content), round(invented_edges(line, content), 3)
    (0.0, 0.016)
    """
    result, content = aligned_pixels(result, content)
    calm = local_deviation(luminance(content), 4.0) < flat
    calm &= ~grown(canny_edges(content, 0.05, 0.1), apart)
    places = calm.float() * weights_like(content, mask)
    return weighted_mean(canny_edges(result, 0.1, 0.2).float(), places).item()
