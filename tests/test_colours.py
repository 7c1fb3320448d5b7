"""Palettes: what they measure, and moving a picture to one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from velatura.picture.palette import (
    Palette,
    luminance_curve,
    mixed_palette,
    near_palette,
    palette_of,
    transport_palette,
)


def painting(seed: int, low: float = -0.9, high: float = 0.9, side: int = 48) -> Tensor:
    """A smooth picture (1, 3, side, side) of many colours between ``low`` and ``high``."""
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
    return low + (high - low) * smooth


def lightness(pixels: Tensor) -> Tensor:
    lab: Tensor = rgb_to_lab((pixels + 1) / 2)
    return lab[:, 0].flatten()


def clipped(pixels: Tensor) -> float:
    levels = ((pixels + 1) * 127.5).round()
    return ((levels <= 1) | (levels >= 254)).any(1).float().mean().item()


PICTURES = {
    "photo": painting(0),
    "pale": painting(1, 0.5, 0.95),
    "dark": painting(2, -1, -0.6),
    "ink": painting(3).mean(1, keepdim=True).sign().repeat(1, 3, 1, 1),
    "flat": torch.full((1, 3, 48, 48), 0.2),
    "gray": painting(4).mean(1, keepdim=True).repeat(1, 3, 1, 1),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_its_own_palette_stays_as_it_is(name: str) -> None:
    pixels = PICTURES[name]
    torch.testing.assert_close(transport_palette(pixels, palette_of(pixels), 1.0), pixels, atol=0.02, rtol=0)


def test_share_0_returns_the_picture_itself() -> None:
    pixels = painting(0)
    assert transport_palette(pixels, palette_of(painting(1)), 0.0) is pixels


@pytest.mark.parametrize("style", PICTURES)
@pytest.mark.parametrize("content", PICTURES)
def test_luminance_keeps_its_order_and_its_contrast_and_nothing_is_clipped(content: str, style: str) -> None:
    pixels = PICTURES[content]
    moved = transport_palette(pixels, palette_of(PICTURES[style]), 1.0)
    assert bool(moved.isfinite().all()) and moved.abs().max() <= 1
    before, after = lightness(pixels), lightness(moved)
    order = before.argsort()
    rises, steps = after[order].diff(), before[order].diff()
    assert (rises >= -0.05).all()
    assert after.max() - after.min() >= 0.39 * (before.max() - before.min()) - 0.1
    assert (rises <= 2.6 * steps + 0.1).all()
    assert clipped(moved) <= clipped(pixels) + 1e-6


def test_the_palette_arrives() -> None:
    style = painting(5, -0.5, 0.8)
    wanted, own = palette_of(style), palette_of(painting(6))
    reached = palette_of(transport_palette(painting(6), wanted, 1.0))
    for name in ("luminance", "covariance"):
        before, after = ((getattr(each, name) - getattr(wanted, name)).abs().mean() for each in (own, reached))
        assert after < before / 3, name


def test_a_part_of_the_way_lies_between() -> None:
    pixels, palette = painting(0), palette_of(PICTURES["dark"])
    light = [lightness(transport_palette(pixels, palette, share)).mean() for share in (0.0, 0.5, 1.0)]
    assert light[0] > light[1] > light[2]
    assert abs(light[1] - (light[0] + light[2]) / 2) < 1


def test_only_the_shared_pixels_are_measured() -> None:
    left, right = painting(0), PICTURES["pale"]
    both = torch.cat([left, right], 3)
    shares = torch.cat([torch.ones(1, 1, 48, 48), torch.zeros(1, 1, 48, 48)], 3)
    expected, found = palette_of(left), palette_of(both, shares)
    for name in ("luminance", "chroma", "covariance"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=0.02, rtol=1e-3)


def test_a_mixed_palette_is_the_weighted_sum() -> None:
    first, second = palette_of(painting(0)), palette_of(painting(1))
    mixed = mixed_palette([(first, 0.25), (second, 0.75)])
    torch.testing.assert_close(mixed.luminance, 0.25 * first.luminance + 0.75 * second.luminance)
    torch.testing.assert_close(mixed.covariance, 0.25 * first.covariance + 0.75 * second.covariance)


def test_the_luminance_curve_of_a_shift_is_that_shift() -> None:
    own = torch.linspace(30, 60, 65, dtype=torch.float64)
    curve = luminance_curve(own, own + 15)
    torch.testing.assert_close(curve[30:61], torch.arange(45, 76, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_near_palette_is_the_wanted_one_where_a_straight_line_leads_to_it() -> None:
    own = replace(palette_of(painting(0)), luminance=torch.linspace(30, 60, 65, dtype=torch.float64))
    wanted = replace(palette_of(painting(1)), luminance=torch.linspace(20, 80, 65, dtype=torch.float64))
    torch.testing.assert_close(near_palette(wanted, own).luminance, wanted.luminance)
    assert near_palette(wanted, own).chroma is wanted.chroma


def test_a_style_of_two_tones_leaves_the_middle_tones_however_often_a_method_moves_to_it() -> None:
    photo, two_tones = torch.linspace(-0.9, 0.9, 48).expand(1, 3, 48, 48), palette_of(0.6 * PICTURES["ink"])
    near = near_palette(two_tones, palette_of(photo))
    assert (near.luminance.diff() >= 0).all() and two_tones.luminance[0] <= near.luminance[0]
    black, white = two_tones.luminance[0], two_tones.luminance[-1]

    def middle(palette: Palette) -> float:
        light = lightness(transport_palette(transport_palette(photo, palette, 1.0), palette, 1.0))
        return ((light - (black + white) / 2).abs() < (white - black) / 4).float().mean().item()

    assert middle(near) > 3 * middle(two_tones)
