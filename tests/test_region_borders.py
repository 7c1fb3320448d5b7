"""Borders between regions that share latents, drawn in pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.methods.region_borders import with_sharp_borders
from velatura.regions import Placement, Region
from velatura.regions.masks import Mask
from velatura.style import Style

CELL, SIDE = 8, 96
STYLE = Style("s", "guided", "tiny", "", {})


def disc(softness: float = 0.5) -> Mask:
    """1 within 30 pixels of the middle, 0 outside, over an edge of twice ``softness`` pixels."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    soft: Mask = ((30 - np.hypot(x, y)) / (2 * softness) + 0.5).clip(0, 1).astype(np.float32)
    return soft


def placed(*masks: Mask) -> Placement:
    return Placement((Region(STYLE),) * len(masks), masks)


def two_colours(mask: Mask, inner: float, outer: float) -> Tensor:
    return (torch.from_numpy(mask) * (inner - outer) + outer).expand(1, 3, -1, -1).clone()


def in_cells(pixels: Tensor) -> Tensor:
    """What a decoder makes of latents that hold one colour a cell."""
    return F.interpolate(F.avg_pool2d(pixels, CELL), scale_factor=CELL, mode="nearest")


def test_a_border_in_steps_of_a_cell_follows_the_mask_again() -> None:
    mask = disc()
    start, wanted = two_colours(mask, 0.2, -0.1), two_colours(mask, 0.7, -0.6)
    stepped = in_cells(wanted)
    drawn = with_sharp_borders(stepped, start, placed(np.ones_like(mask), mask), CELL)
    assert (stepped - wanted).abs().max() > 0.6
    assert (drawn - wanted).abs().max() < 0.1
    for far in (slice(0, CELL), slice(44, 52)):  # a corner and the middle
        assert torch.equal(drawn[..., far, far], stepped[..., far, far])


def test_where_no_two_regions_meet_sharply_the_pixels_stay() -> None:
    """One region, soft edges over several cells, and a model that works on pixels."""
    pixels, start = torch.rand(1, 3, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE)
    mask, soft = disc(), disc(softness=20)
    for placement, cell in (
        (placed(mask), CELL),
        (placed(np.ones_like(mask)), CELL),
        (placed(np.ones_like(soft), soft), CELL),
        (placed(np.ones_like(mask), mask), 1),
    ):
        assert torch.equal(with_sharp_borders(pixels, start, placement, cell), pixels)
