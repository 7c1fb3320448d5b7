"""Metrics of the grid that latent diffusion can leave: energy at the period of the autoencoder's cells."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.evaluation.pixels import PictureLike, aligned_pixels
from velatura.evaluation.places import luminance, weights_like

PERIOD = 8  # pixels to a cell of the latents
WINDOW = 4 * PERIOD
FLAT = 0.025  # deviation of luminance, in [0, 1], about a plane
FEWEST = 4  # windows that are measured, the calmest, where fewer are flat
LOBE = 1.5  # power of a wave under a Hann window over that of its middle bin; two bins away it is 0
FLOOR = 1.0  # levels of 255: less is not seen


def _windows(pixels: Tensor) -> Tensor:
    """Windows of 32 x 32 luminances, 16 apart, with their plane taken out: (N, 32, 32). ValueError for less than 32."""
    if min(pixels.shape[2:]) < WINDOW:
        raise ValueError(f"the lattice is measured in pictures of at least {WINDOW} pixels")
    values = luminance(pixels).unfold(2, WINDOW, WINDOW // 2).unfold(3, WINDOW, WINDOW // 2).flatten(0, 3)
    axis = torch.linspace(-1, 1, WINDOW, device=pixels.device)
    axis = axis / axis.norm()
    down = (values.mean(2) @ axis)[:, None, None] * axis[:, None]
    across = (values.mean(1) @ axis)[:, None, None] * axis
    level: Tensor = values - values.mean((1, 2), keepdim=True) - (down + across)
    return level


def _flat(content: Tensor, mask: Tensor | None) -> Tensor:
    """Which of the content's windows are flat, and inside the mask if there is one: (N,), bool."""
    deviation = _windows(content).std((1, 2))
    cover = weights_like(content, mask).unfold(2, WINDOW, WINDOW // 2).unfold(3, WINDOW, WINDOW // 2).mean((4, 5))
    deviation = deviation.masked_fill(cover.flatten() < 0.9, torch.inf)
    fewest = deviation.sort().values[min(FEWEST, len(deviation)) - 1]
    flat: Tensor = (deviation <= fewest.clamp(min=FLAT)) & deviation.isfinite()
    return flat


def _excess(windows: Tensor, dim: int) -> Tensor:
    """Mean square along ``dim`` at 1/8, 2/8, 3/8 and 4/8 cycles a pixel over that of the frequencies around."""
    taper = torch.hann_window(WINDOW, device=windows.device)
    taper = (taper / taper.square().mean().sqrt()).reshape((-1, 1) if dim == 1 else (1, -1))
    power = torch.fft.fft(windows * taper, dim=dim).abs().square().mean(0).mean(2 - dim) / WINDOW**2
    cycle = WINDOW // PERIOD
    total: Tensor = power.new_zeros(())
    for bin_ in range(cycle, WINDOW // 2 + 1, cycle):
        both = 1 if bin_ == WINDOW // 2 else 2  # a real signal's power lies at bin and WINDOW - bin alike
        around = (power[bin_ - 2] * power[(bin_ + 2) % WINDOW]).sqrt()  # a falling spectrum's geometric middle
        total = total + both * LOBE * (power[bin_] - around)
    return total


@torch.no_grad()
def lattice_level(result: PictureLike, content: PictureLike, mask: Tensor | None = None) -> float:
    """Amplitude of an 8-pixel grid in the places where the content is flat: RMS in levels of 255, lower is better.

    In windows of 32 x 32 pixels, where the content's luminance deviates from a plane by less than 0.025 (the four
    calmest windows where there are fewer), spectra of rows and columns: the power at 1/8 cycle a pixel and its
    harmonics that stands above the frequencies beside them. Strokes, which fill all frequencies, are no lattice.
    Pictures are (1, 3, H, W) in [-1, 1], at the size they were decoded at; sides of at least 32. ``mask`` is
    (1, 1, H, W); 0 where no window lies in it.

    >>> import torch
    >>> waves = torch.cos(torch.arange(64) * 2 * torch.pi / 8).expand(1, 3, 64, 64) * 0.1
    >>> round(lattice_level(waves, 0 * waves), 2), round(lattice_level(0 * waves, 0 * waves), 2)
    (9.02, 0.0)
    """
    result, content = aligned_pixels(result, content)
    chosen = _flat(content, mask)
    if not chosen.any():
        return 0.0
    windows = _windows(result)[chosen]
    return float((_excess(windows, 1) + _excess(windows, 2)).clamp(min=0).sqrt()) * 255


def lattice_ratio(result: PictureLike, content: PictureLike, mask: Tensor | None = None) -> float:
    """``lattice_level`` of a result over the content's own; both count as at least one level of 255, which none sees.

    1 is best: no more grid, and no less, than the content has; over 1 is a grid that was added.

    >>> import torch
    >>> flat = torch.zeros(1, 3, 64, 64)
    >>> lattice_ratio(flat, flat)
    1.0
    """
    result, content = aligned_pixels(result, content)
    ours, theirs = (max(lattice_level(each, content, mask), FLOOR) for each in (result, content))
    return ours / theirs
