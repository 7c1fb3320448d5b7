"""ZeCon's random views for CLIP: whole pictures or patches under an affine and a perspective map (guided-details 1.9).

The draws are those of the published program's kornia, from the same numbers of the same generator. Its faults are
kept: the perspective leaves more than half of a view mid gray, and the last mean pooling is nearly a nearest-neighbour
enlargement. ``velatura.losses.clip_views`` has neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from kornia.geometry.transform import get_perspective_transform, get_rotation_matrix2d
from torch import Tensor
from torch.nn import functional as F

VIEW, PATCH = 224, 128  # sides, in pixels, of a view and of an enlarged patch
DEGREES, SHIFT, DISTORTION = 15.0, 0.1, 0.7  # of the turn; of the height, downwards only; of half a side, at a corner
ASPECTS = (3 / 4, 4 / 3)
TRIES = 10
WARP_DRAWS = 11  # numbers that the warp of one copy takes

Box = tuple[int, int, int, int]  # first column and row, last column and row, inclusive


@dataclass(frozen=True)
class Warps:
    """Maps of N copies (N, C, H, W): ``affine``, then ``perspective``, each (N, 3, 3) from source to target pixels."""

    affine: Tensor
    perspective: Tensor

    def __call__(self, pictures: Tensor) -> Tensor:
        """The copies, warped and pooled: (N, C, 224, 224)."""
        return pooled(_perspective(_affine(pictures, self.affine), self.perspective))


def pooled(pictures: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 224, 224) by adaptive mean pooling."""
    return F.adaptive_avg_pool2d(pictures, VIEW)


def patches(picture: Tensor, boxes: Sequence[Box]) -> Tensor:
    """Boxes of one picture (1, C, H, W), each resized to 128 px: (N, C, 128, 128)."""
    parts = (picture[:, :, top : bottom + 1, left : right + 1] for left, top, right, bottom in boxes)
    return torch.cat([F.interpolate(part, (PATCH, PATCH), mode="bilinear", align_corners=True) for part in parts])


def draw_patches(
    count: int, size: Sequence[int], area: tuple[float, float], generator: torch.Generator
) -> tuple[list[Box], Warps]:
    """Boxes of a picture of ``size`` (height, width), and the warps of the 128 px patches made of them.

    A box has ``area`` (least, most) share of the picture and sides of 3:4 to 4:3. It is the first of 10 draws that
    fits, or the whole picture. One copy draws for its box, then for its warp.
    """
    drawn = torch.rand(count, 2 * TRIES + 2 + WARP_DRAWS, generator=generator)
    shares, aspects, places, moves = torch.split(drawn, [TRIES, TRIES, 2, WARP_DRAWS], dim=1)
    return _boxes(shares, aspects, places, size, area), _warps(moves, (PATCH, PATCH))


def draw_warps(count: int, size: Sequence[int], generator: torch.Generator) -> Warps:
    """Random rotations by up to 15 degrees, vertical shifts by up to a tenth of the height, and perspectives that move
    the corners inwards by up to 0.7 of half a side, of pictures of ``size`` (height, width).
    """
    return _warps(torch.rand(count, WARP_DRAWS, generator=generator), size)


def _boxes(
    shares: Tensor, aspects: Tensor, places: Tensor, size: Sequence[int], area: tuple[float, float]
) -> list[Box]:
    """Boxes from numbers in [0, 1): ``shares`` and ``aspects`` (N, 10) of the tries, ``places`` (N, 2) x and y.

    All in float32, as kornia 0.6 computes them; its exchange of width and height is kept.
    """
    height, width = size
    least, most = torch.tensor(area)
    pixels = (shares * (most - least) + least) * height * width
    narrow, broad = torch.tensor(ASPECTS).log()
    aspect = (aspects * (broad - narrow) + narrow).exp()
    high, wide = (pixels * aspect).sqrt().round(), (pixels / aspect).sqrt().round()
    fits = (high > 0) & (high < height) & (wide > 0) & (wide < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    found, sizes = fits.any(dim=1), torch.cat([wide.gather(1, first), high.gather(1, first)], dim=1)
    sizes[~found] = torch.tensor([float(width), float(height)])
    corners = (places * (torch.tensor([width, height]) - sizes + 1)).floor()
    return [(left, top, right, bottom) for left, top, right, bottom in _rows(corners, corners + sizes - 1)]


def _rows(first: Tensor, last: Tensor) -> list[list[int]]:
    rows: list[list[int]] = torch.cat([first, last], dim=1).int().tolist()
    return rows


def _warps(drawn: Tensor, size: Sequence[int]) -> Warps:
    """Warps from numbers (N, 11) in [0, 1): the turn, a shift in x that counts for nothing, the shift in y, corners."""
    height, width = size
    count = len(drawn)
    turn, shift = DEGREES * (2 * drawn[:, 0] - 1), SHIFT * height * (2 * drawn[:, 2] - 1)
    corners = torch.tensor([[0.0, 0.0], [width - 1, 0.0], [width - 1, height - 1], [0.0, height - 1]])
    affine = torch.eye(3).repeat(count, 1, 1)
    # kornia's angles are clockwise on the screen, its matrices' counter-clockwise.
    affine[:, :2] = get_rotation_matrix2d(corners.mean(0).expand(count, 2), -turn, torch.ones(count, 2))
    affine[:, 1, 2] += shift
    inwards = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    most = DISTORTION / 2 * torch.tensor([width, height])
    moved = corners + drawn[:, 3:].view(count, 4, 2) * most * inwards
    return Warps(affine, get_perspective_transform(corners.expand(count, 4, 2), moved))


def _between_corners(size: Sequence[int]) -> Tensor:
    """The map (3, 3) from pixel coordinates to [-1, 1], with the centres of the outermost pixels at the ends."""
    height, width = size
    return torch.tensor([[2 / (width - 1), 0, -1], [0, 2 / (height - 1), -1], [0, 0, 1]], dtype=torch.float64)


def _sources(matrices: Tensor, size: Sequence[int]) -> Tensor:
    """The inverses (N, 3, 3) of maps of pixels, in coordinates of [-1, 1]: where each target point comes from."""
    scale = _between_corners(size)
    inverse: Tensor = scale @ torch.linalg.inv(scale @ matrices.double())
    return inverse


def _affine(pictures: Tensor, matrices: Tensor) -> Tensor:
    """The pictures under affine maps; edges are continued."""
    sources = _sources(matrices, pictures.shape[2:])[:, :2].to(pictures)
    grid = F.affine_grid(sources, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _perspective(pictures: Tensor, matrices: Tensor) -> Tensor:
    """The pictures under perspective maps; outside of them it is mid gray, 0."""
    height, width = pictures.shape[2:]
    across, down = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (width, height))
    y, x = torch.meshgrid(down, across, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    found = torch.einsum("nij,hwj->nhwi", _sources(matrices, (height, width)), points)
    grid = (found[..., :2] / found[..., 2:]).to(pictures)
    return F.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
