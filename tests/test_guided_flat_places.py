"""Gradients of latents are smooth where the content is flat, and as they are elsewhere."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.losses.detail import local_detail
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.methods.guided.flat_places import flatness, smoothed
from velatura.picture import image_to_pixels


def half_flat() -> torch.Tensor:
    """Pixels (1, 3, 64, 96): plain gray to the left, noise to the right."""
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels[..., :48] = 0.2
    return pixels


def test_the_flat_half_is_flat_at_the_latents_size() -> None:
    flat = flatness(local_detail(half_flat(), 0.0), torch.zeros(1, 8, 8, 12))
    assert flat.shape == (1, 1, 8, 12)
    assert flat[..., :4].min() > 0.99
    assert flat[..., 6:].max() < 0.2


def test_noise_is_smoothed_where_it_is_flat_alone() -> None:
    gradient = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    flat = torch.zeros(1, 1, 16, 16)
    assert torch.equal(smoothed(gradient, flat), gradient)
    flat[..., :8] = 1
    made = smoothed(gradient, flat)
    assert torch.equal(made[..., 8:], gradient[..., 8:])
    assert made[..., :8].std() < 0.3 * gradient[..., :8].std()


def test_a_gradient_that_is_one_everywhere_stays() -> None:
    even = torch.full((1, 8, 16, 16), 0.7)
    assert torch.allclose(smoothed(even, torch.ones(1, 1, 16, 16)), even, atol=1e-6)


@pytest.mark.parametrize(("flat_push", "smooths"), [(0.15, True), (1.0, False)])
def test_a_whole_flat_push_is_left_as_the_losses_made_it(flat_push: float, smooths: bool) -> None:
    method, context = Guided(size=64, flat_push=flat_push), RunContext(tiny_house())
    pixels = image_to_pixels(smooth_image(64, 96))
    seen = method.seen_by_losses(pixels, context.backbone.encode(pixels), pixels)
    steering = method.steering(lambda latents, timestep: pytest.fail("called"), [], seen, context)
    assert (steering.flat is not None) == smooths


def test_smoothing_comes_before_the_rms_so_that_details_get_what_skies_lose() -> None:
    context = RunContext(tiny_house())
    method = Guided(size=64, steps=4, weights={"palette": 3.0})
    pixels = half_flat()[..., :64]
    seen = method.seen_by_losses(pixels, context.backbone.encode(pixels), pixels)
    steering = method.steering(lambda latents, timestep: pytest.fail("called"), [], seen, context)
    gradient = torch.randn(seen.latents.shape, generator=torch.Generator().manual_seed(2))
    assert steering.flat is not None
    push = steering.gradient_scale(smoothed(gradient, steering.flat), 0.25)
    assert float(push.square().mean().sqrt()) == pytest.approx(0.25, rel=1e-4)
    rough = dataclasses.replace(steering, flat=None).gradient_scale(gradient, 0.25)
    assert push[..., -2:].square().mean() > rough[..., -2:].square().mean()
