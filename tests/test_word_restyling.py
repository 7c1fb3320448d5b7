"""Photos restyled by a word alone, and what is measured of them."""

from __future__ import annotations

import math

import pytest
import torch

from tests.conftest import smooth_pixels
from tests.tiny_house import tiny_house
from velatura.diffusion.guidance_scaling import GuidanceScaling
from velatura.progress import Silent
from velatura.training.word_restyling import Guidance, Restyled, restyle, texture_growth

CONTENTS = torch.cat([smooth_pixels(64, 64, seed) for seed in range(2)])
STYLES = torch.cat([smooth_pixels(64, 64, seed) for seed in (7, 8)])


def test_each_photo_is_restyled_once_a_guidance() -> None:
    house = tiny_house()
    plain, without = GuidanceScaling(), GuidanceScaling(channels=(0.0,) * house.latent_channels)
    asked = [Guidance(1.0, plain), Guidance(3.0, plain), Guidance(3.0, without)]
    conditional, guided, unguided = restyle(house, CONTENTS, STYLES, asked, Silent())
    assert conditional.results.shape == CONTENTS.shape
    assert all(made.results.abs().max() <= 1 for made in (conditional, guided, unguided))
    assert not torch.allclose(guided.results, conditional.results, atol=1e-3)
    assert torch.allclose(unguided.results, conditional.results, atol=1e-3)  # no channel's difference is extrapolated
    assert torch.equal(guided.contents, CONTENTS) and torch.equal(guided.styles, STYLES)


def test_measures_of_a_style_and_of_the_photo_itself() -> None:
    usual = torch.zeros(100)
    style, photo = (Restyled(CONTENTS, STYLES, results).measures(usual) for results in (STYLES, CONTENTS))
    assert style["colour"] == pytest.approx(0, abs=0.01) and style["magenta"] == pytest.approx(1)
    assert photo["colour"] == photo["colour, before"] > 1
    assert photo["edges kept"] == 1 and photo["lattice"] == pytest.approx(0, abs=0.5)


def test_texture_that_grows_with_the_picture_grows_twice() -> None:
    noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    large = torch.nn.functional.interpolate(smooth, scale_factor=2, mode="bicubic")
    small, enlarged = Restyled(noise, noise, smooth), Restyled(large, noise, large)
    assert texture_growth(small, enlarged) == pytest.approx(2, rel=0.1)
    assert texture_growth(small, small) == 1
    assert math.isnan(texture_growth(small, Restyled(noise, noise, 0 * smooth)))
