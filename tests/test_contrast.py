"""Contrast by scale: what it measures, and moving a picture to that of another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.conftest import smooth_pixels
from velatura.picture.contrast import contrast_of, match_contrast


def waves(period: float, amplitude: float = 0.3) -> Tensor:
    """Vertical waves (1, 3, 64, 64) in gray."""
    return (amplitude * torch.sin(2 * torch.pi * torch.arange(64) / period)).expand(1, 3, 64, 64)


def lightness_moments(pixels: Tensor) -> Tensor:
    gray = pixels.mean(1)
    return torch.stack([gray.mean(), gray.std()])


def test_contrast_is_told_by_scale_whatever_its_strength() -> None:
    fine, coarse = contrast_of(waves(4)), contrast_of(waves(40))
    assert fine.square().sum().item() == pytest.approx(1, abs=1e-4)
    assert fine[0] > 0.9 and coarse[0] < 0.3 < coarse[3:].norm()
    assert torch.allclose(contrast_of(waves(4, 0.05)), contrast_of(waves(4, 0.1)), atol=0.02)
    assert contrast_of(torch.zeros(1, 3, 64, 64)).abs().max() < 0.02  # the rounding of a blur


def test_shares_say_where_contrast_is_measured() -> None:
    pixels, shares = waves(40).clone(), torch.zeros(1, 1, 64, 64)
    pixels[:, :, 32:] = waves(4)[:, :, 32:]
    shares[:, :, 44:] = 1
    assert contrast_of(pixels, shares)[0] > 0.9 > contrast_of(pixels)[0]


def test_a_picture_moves_towards_the_contrast_of_another_and_keeps_its_light() -> None:
    both = 0.2 * waves(4, 1.0) + 0.4 * waves(30, 1.0)
    wanted = contrast_of(0.4 * waves(4, 1.0) + 0.2 * waves(30, 1.0))
    moved = match_contrast(both, wanted, 1.0)
    assert (contrast_of(moved) - wanted).norm() < 0.7 * (contrast_of(both) - wanted).norm()
    assert torch.allclose(lightness_moments(moved), lightness_moments(both), atol=0.03)


def test_matching_its_own_contrast_or_no_share_changes_nothing() -> None:
    pixels = 0.7 * smooth_pixels(seed=1)
    assert torch.equal(match_contrast(pixels, contrast_of(smooth_pixels(seed=2)), 0.0), pixels)
    assert torch.allclose(match_contrast(pixels, contrast_of(pixels), 1.0), pixels, atol=0.01)


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (64, 64)])
def test_flat_and_tiny_pictures_stay_pictures(size: tuple[int, int]) -> None:
    flat = torch.full((1, 3, *size), 0.3)
    moved = match_contrast(flat, contrast_of(waves(4)), 1.0)
    assert moved.shape == flat.shape
    assert torch.allclose(moved, flat, atol=0.01)


def test_noise_in_a_flat_place_is_raised_less_than_lines() -> None:
    noise = 0.01 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(1, 3, 64, 64)
    pixels = noise.clone()
    pixels[..., 40:44] -= 0.8
    pixels[..., 50:] += 0.5
    moved = match_contrast(pixels, contrast_of(waves(4)), 1.0)

    def steepness(picture: Tensor) -> Tensor:
        return picture.diff(dim=-1).square().mean().sqrt()

    def gain(columns: slice) -> float:
        return (steepness(moved[..., columns]) / steepness(pixels[..., columns])).item()

    assert gain(slice(0, 26)) < 0.8 * gain(slice(38, 46))
