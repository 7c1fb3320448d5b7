"""A picture's palette in CIE Lab, and moving a picture to the palette of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEVELS = 101  # L = 0, 1, ..., 100: where curves over luminance are known
QUANTILES = torch.linspace(0, 1, 65, dtype=torch.float64)
BINS = 1000  # of the histogram that quantiles are read from
SLOPES = (0.4, 2.5)  # of the luminance map: less would flatten a contrast, more would show its noise
BENDING = 10.0  # in L: how far a map of middle tones may lie from a straight line, lest they part into black and white
SMOOTHING = 4.0  # the luminance map's, in L: a jump in it would show as a band
BAND = 8.0  # width in L of the luminance bands whose chroma is taken together
PRIOR = 0.02  # share of a picture's pixels that pulls a sparse band to the picture's mean chroma
CHROMA_FLOOR = 9.0  # variance of a and b that counts as gray: its noise is not turned into colour
MAX_CHROMA_GAIN = 3.0
LUMINANCE_ENDS = (2.0, 98.0)  # darker and lighter than this only where both palettes are
KNEE = 0.8  # of the way from gray to the gamut's surface: where chroma begins to be compressed
GAMUT = (0.0007, 0.98)  # of linear colours: about 2 and 253 of 255


@dataclass(frozen=True, eq=False)
class Palette:
    """The colours of a picture or of several, in CIE Lab (D65), float64 on the CPU.

    ``luminance`` (65,) are quantiles of L from the least to the greatest, ``chroma`` (101, 2) is the mean of a and b at
    L = 0, 1, ..., 100, of neighbouring luminances together, ``covariance`` (2, 2) that of a and b about it.
    """

    luminance: Tensor
    chroma: Tensor
    covariance: Tensor


@torch.no_grad()
def palette_of(pixels: Tensor, shares: Tensor | None = None) -> Palette:
    """The palette of pixels (B, 3, H, W) in [-1, 1], weighted by ``shares`` (B, 1, H, W), not all zero, if given."""
    weights = torch.ones_like(pixels[:, :1]) if shares is None else shares.to(pixels)
    return _palette(_lab(pixels), weights.float())


def mixed_palette(palettes: Sequence[tuple[Palette, float]]) -> Palette:
    """The palette between several, with shares that sum to 1: quantiles (the Wasserstein barycentre of luminance), mean
    chroma and covariances are weighted sums.
    """
    return Palette(
        *(
            torch.stack([share * getattr(palette, name) for palette, share in palettes]).sum(0)
            for name in ("luminance", "chroma", "covariance")
        )
    )


def near_palette(wanted: Palette, own: Palette) -> Palette:
    """The palette nearest to a ``wanted`` one that leaves a picture whose palette is ``own`` its middle tones.

    Its quantiles of L are those wanted, no further than 10 from the straight line that gives the own ones the mean and
    spread of the wanted ones, and within the wanted range: a style that is half black and half white, say, does not
    turn one half of a face black. Chroma is the wanted one.
    """
    gain = (wanted.luminance.std() / own.luminance.std().clamp(min=1)).clamp(*SLOPES)
    line = wanted.luminance.mean() + gain * (own.luminance - own.luminance.mean())
    bent = wanted.luminance.clamp(line - BENDING, line + BENDING)
    return replace(wanted, luminance=bent.clamp(wanted.luminance[0], wanted.luminance[-1]))


@torch.no_grad()
def transport_palette(pixels: Tensor, palette: Palette, share: float, shares: Tensor | None = None) -> Tensor:
    """Move the colours of pixels (1, 3, H, W) in [-1, 1] by ``share`` (0..1) of the way to a palette.

    Their own palette is that of the pixels weighted by ``shares`` (1, 1, H, W), not all zero, if given; the map is that
    of ``move_palette``. Returns pixels in [-1, 1]; the same tensor for share 0.
    """
    return move_palette(pixels, palette_of(pixels, shares), palette, share) if share else pixels


@torch.no_grad()
def move_palette(pixels: Tensor, own: Palette, wanted: Palette, share: float) -> Tensor:
    """Move the colours of pixels (B, 3, H, W) in [-1, 1], such as a tile of a larger picture, by ``share`` (0..1) of
    the way from the palette of the whole, ``own``, to another.

    Luminance goes through one smooth, strictly rising curve that matches quantiles, with slopes between 0.4 and 2.5 at
    share 1, so that no contrast is lost, turned over or clipped. Chroma goes from the own mean at the old luminance to
    the wanted one at the new, and about it through the linear optimal transport (Monge-Kantorovich, Pitie and Kokaram
    2007). Colours outside sRGB move towards the gray of the same luminance, softly. Returns pixels in [-1, 1].
    """
    lab = _lab(pixels)
    luminance, chroma = lab[:, :1], lab[:, 1:]
    mapped = _read(luminance_curve(own.luminance, wanted.luminance)[:, None], luminance)
    transport = _chroma_transport(own.covariance, wanted.covariance).to(lab)
    centred = torch.einsum("ij,bjhw->bihw", transport, chroma - _read(own.chroma, luminance))
    target = centred + _read(wanted.chroma, mapped)
    return _in_gamut(torch.lerp(luminance, mapped, share), torch.lerp(chroma, target, share), pixels)


@torch.no_grad()
def keep_chroma(pixels: Tensor, content: Tensor, shares: Tensor | None = None) -> Tensor:
    """Pixels (1, 3, H, W) in [-1, 1] in the colours of a ``content`` of the same shape: its a and b at each place, and
    the pixels' luminance moved to the content's quantiles of it (Gatys et al. 2016, "Preserving colour").

    Quantiles are weighted by ``shares`` (1, 1, H, W), not all zero, if given.
    """
    own, wanted = palette_of(pixels, shares), palette_of(content, shares)
    curve = luminance_curve(own.luminance, wanted.luminance)
    return _in_gamut(_read(curve[:, None], _lab(pixels)[:, :1]), _lab(content)[:, 1:], pixels)


def luminance_curve(own: Tensor, wanted: Tensor) -> Tensor:
    """The map (101,) of L = 0, 1, ..., 100 that takes quantiles (65,) of L to others: smooth, with bounded slopes.

    It stays between 2 and 98, or the ends of both where they lie beyond.
    """
    levels = torch.arange(LEVELS, dtype=own.dtype)
    ramp = 1e-3 * torch.arange(len(own), dtype=own.dtype)  # so that equal quantiles have an order
    matched = _extended_interpolation(levels, own + ramp, wanted + ramp)
    padding = round(3 * SMOOTHING)
    offsets = torch.arange(-padding, padding + 1, dtype=own.dtype)
    kernel = (-0.5 * (offsets / SMOOTHING) ** 2).exp()
    first, last = matched[0] + offsets[:padding], matched[-1] + offsets[padding + 1 :]
    padded = torch.cat([first, matched, last])[None, None]
    smooth = torch.nn.functional.conv1d(padded, (kernel / kernel.sum())[None, None])[0, 0]
    slopes = smooth.diff().clamp(*SLOPES)
    # What the clamped slopes add is taken from the steep parts, so that the own range fits between the ends.
    low, high = (float(own[end].clamp(0, LEVELS - 1)) for end in (0, -1))
    floor = min(LUMINANCE_ENDS[0], max(low, float(wanted[0])))
    ceiling = max(LUMINANCE_ENDS[1], min(high, float(wanted[-1])))
    within = ((levels[1:] > low) & (levels[:-1] < high)).to(own)
    least = SLOPES[0] * float(within.sum())
    spare = float((within * (slopes - SLOPES[0])).sum())
    if least + spare > ceiling - floor:
        slopes = SLOPES[0] + (slopes - SLOPES[0]) * max(0.0, (ceiling - floor - least) / spare)
    curve = torch.cat([torch.zeros(1, dtype=own.dtype), slopes.cumsum(0)])
    shift = float(_interpolated(own, levels, smooth).mean() - _interpolated(own, levels, curve).mean())
    ends = _interpolated(torch.tensor([low, high], dtype=own.dtype), levels, curve)
    shift = min(max(shift, floor - float(ends[0])), ceiling - float(ends[1]))
    return curve + shift


def _palette(lab: Tensor, weights: Tensor) -> Palette:
    """The palette of Lab pixels (B, 3, H, W) with weights (B, 1, H, W)."""
    flat, mass = lab.transpose(0, 1).flatten(1).cpu().double(), weights.flatten().cpu().double()
    mass = mass / mass.sum()
    luminance, chroma = flat[0].clamp(0, LEVELS - 1), flat[1:]
    nearest = luminance.round().long()
    counts = torch.bincount(nearest, mass, LEVELS)
    sums = torch.stack([torch.bincount(nearest, mass * channel, LEVELS) for channel in chroma], 1)
    levels = torch.arange(LEVELS, dtype=torch.float64)
    kernel = (-0.5 * ((levels[:, None] - levels) / BAND) ** 2).exp()
    means = (kernel @ sums + PRIOR * sums.sum(0)) / (kernel @ counts + PRIOR)[:, None]
    centred = chroma - _interpolated_rows(means, luminance).T
    return Palette(_quantiles(luminance, mass), means, (mass * centred) @ centred.T)


def _quantiles(luminance: Tensor, mass: Tensor) -> Tensor:
    """The quantiles (65,) of L (N,) with weights that sum to 1, each in its bin of a histogram."""
    width = (LEVELS - 1) / BINS
    filled = torch.bincount((luminance / width).long().clamp(max=BINS - 1), mass, BINS)
    used = filled.nonzero()[:, 0]
    upper = filled[used].cumsum(0)
    place = torch.searchsorted(upper, QUANTILES * upper[-1]).clamp(max=len(used) - 1)
    into = 1 - (upper[place] - QUANTILES * upper[-1]) / filled[used[place]]
    return (used[place] + into.clamp(0, 1)) * width


def _chroma_transport(own: Tensor, wanted: Tensor) -> Tensor:
    """The linear map (2, 2) that takes one covariance to another, with gains of at most 3."""
    floor = CHROMA_FLOOR * torch.eye(2, dtype=own.dtype)
    own, wanted = own + floor, wanted + floor
    root, inverse = _symmetric_power(own, 0.5), _symmetric_power(own, -0.5)
    transport = inverse @ _symmetric_power(root @ wanted @ root, 0.5) @ inverse
    values, vectors = torch.linalg.eigh((transport + transport.T) / 2)
    limited: Tensor = vectors @ torch.diag(values.clamp(max=MAX_CHROMA_GAIN)) @ vectors.T
    return limited


def _symmetric_power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = vectors @ torch.diag(values.clamp(min=1e-9) ** exponent) @ vectors.T
    return power


def _lab(pixels: Tensor) -> Tensor:
    from kornia.color import rgb_to_lab

    lab: Tensor = rgb_to_lab((pixels.detach().float().clamp(-1, 1) + 1) / 2)
    return lab


def _in_gamut(luminance: Tensor, chroma: Tensor, before: Tensor) -> Tensor:
    """Lab colours as pixels in [-1, 1], those outside sRGB, or near its surface, nearer to gray; what ``before`` was as
    near as that may stay so.
    """
    from kornia.color import lab_to_rgb, linear_rgb_to_rgb, rgb_to_linear_rgb

    gray, colour = (
        rgb_to_linear_rgb(lab_to_rgb(torch.cat([luminance, ab], 1), clip=False))
        for ab in (torch.zeros_like(chroma), chroma)
    )
    gray = gray.mean(1, keepdim=True).clamp(0, 1)
    own = rgb_to_linear_rgb((before.detach().float().clamp(-1, 1) + 1) / 2)
    reach = _reach(gray, colour)
    excess = (reach - KNEE).clamp(min=0) / (1 - KNEE)
    soft = torch.where(reach > KNEE, KNEE + (1 - KNEE) * torch.tanh(excess), reach)
    luma = torch.tensor([0.2126, 0.7152, 0.0722]).to(own)[None, :, None, None]
    kept = torch.maximum(soft, torch.minimum(reach, _reach((own * luma).sum(1, keepdim=True), own)))
    linear = gray + (colour - gray) * (kept / reach.clamp(min=1e-6))
    moved: Tensor = (linear_rgb_to_rgb(linear.clamp(0, 1)) * 2 - 1).clamp(-1, 1).to(before)
    return moved


def _reach(gray: Tensor, colour: Tensor) -> Tensor:
    """How far linear colours (B, 3, H, W) are on the way from gray (B, 1, H, W) to the gamut's surface: 1 on it, more
    outside.
    """
    room = torch.where(colour > gray, GAMUT[1] - gray, gray - GAMUT[0]).clamp(min=1e-4)
    return ((colour - gray).abs() / room).amax(1, keepdim=True)


def _read(curve: Tensor, luminance: Tensor) -> Tensor:
    """A curve's (101, C) values at luminances (B, 1, H, W), as (B, C, H, W)."""
    rows = _interpolated_rows(curve.to(luminance), luminance.flatten())
    batch, _, height, width = luminance.shape
    return rows.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _interpolated_rows(curve: Tensor, luminance: Tensor) -> Tensor:
    """A curve's (101, C) values at luminances (N,), as (N, C)."""
    at = luminance.clamp(0, LEVELS - 1)
    below = at.floor().long().clamp(max=LEVELS - 2)
    return torch.lerp(curve[below], curve[below + 1], (at - below)[:, None])


def _interpolated(at: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation of ``values`` (N,) at rising ``places`` (N,), constant beyond them."""
    above = torch.searchsorted(places.contiguous(), at.contiguous()).clamp(1, len(places) - 1)
    left, right = places[above - 1], places[above]
    fraction = ((at - left) / (right - left).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(values[above - 1], values[above], fraction)


def _extended_interpolation(at: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """As ``_interpolated``, rising by 1 for 1 beyond the ends."""
    beyond = (at - places[-1]).clamp(min=0) + (at - places[0]).clamp(max=0)
    return _interpolated(at, places, values) + beyond
