"""The yardsticks: exact where a closed form exists, and ordered as they claim."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import smooth_pixels
from velatura.evaluation import (
    class_overlap,
    colour_distance,
    content_leak,
    edge_f1,
    gram_distance,
    lpips_hedvgg,
    magenta_similarity,
    outline_leak,
    psnr,
    ssim,
)
from velatura.picture import image_to_pixels


def stripes(offset: int = 0, size: int = 96) -> Tensor:
    row = ((torch.arange(size) + offset) // 16 % 2).float() * 2 - 1
    return row.expand(1, 3, size, size).contiguous()


def test_psnr_is_its_formula() -> None:
    a = torch.zeros(1, 3, 8, 8)
    assert psnr(a + 0.2, a) == pytest.approx(20, abs=1e-3)
    assert psnr(a, a) == float("inf")


def test_ssim_of_equal_pictures_is_one() -> None:
    a = smooth_pixels()
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(-a, a) < 0.5


def test_edges_within_the_tolerance_are_found() -> None:
    a = stripes(4)
    assert edge_f1(a, a) == 1
    assert edge_f1(stripes(5), a) > 0.95
    assert edge_f1(stripes(11), a) < 0.3
    assert edge_f1(torch.zeros_like(a), a) == 0
    assert edge_f1(torch.zeros_like(a), torch.zeros_like(a)) == 1


def test_lpips_hedvgg_ranks_distortions() -> None:
    a = smooth_pixels(96, 96) * 0.5 + stripes() * 0.4
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    distances = [lpips_hedvgg(a + scale * noise, a) for scale in (0, 0.05, 0.1, 0.3)]
    assert distances[0] == 0 and distances == sorted(distances)
    blurred = [lpips_hedvgg(F.avg_pool2d(a, k, 1, k // 2, count_include_pad=False), a) for k in (3, 7, 15)]
    assert 0 < blurred[0] < blurred[1] < blurred[2]


def test_gram_distance_knows_textures() -> None:
    assert gram_distance(stripes(), stripes()) < 1e-9
    assert gram_distance(stripes(5), stripes()) < gram_distance(smooth_pixels(96, 96), stripes())


def test_magenta_similarity_is_a_cosine_about_the_mean() -> None:
    a, b = smooth_pixels(seed=0), stripes()
    assert magenta_similarity(a, a, torch.zeros(100)) == pytest.approx(1, abs=1e-5)
    assert magenta_similarity(a, b, torch.zeros(100)) > 0.5  # without a mean everything looks alike
    from velatura.models.features.magenta import style_vectors

    middle = (style_vectors(a)[0] + style_vectors(b)[0]) / 2
    assert magenta_similarity(a, b, middle) == pytest.approx(-1, abs=1e-4)


def test_colour_distance_is_in_lab_units() -> None:
    black, white = torch.full((1, 3, 16, 16), -1.0), torch.full((1, 3, 32, 32), 1.0)
    assert colour_distance(black, black) == 0
    # From L = 0 to L = 100; the mean of |direction . L axis| over the sphere is 1/2.
    assert colour_distance(black, white) == pytest.approx(50, rel=0.15)
    a = smooth_pixels()
    assert colour_distance(a, a.flip(3)) < 1e-3


def test_leaks_are_nothing_for_the_content_and_much_for_the_style_pasted_in() -> None:
    content, style = (
        image_to_pixels(Image.fromarray(photo()).resize((192, 160))) for photo in (data.chelsea, data.coffee)
    )
    assert class_overlap(style, style) == pytest.approx(1, abs=1e-4)
    assert content_leak(content, content, style) == pytest.approx(0, abs=1e-6)
    assert outline_leak(content, content, style) == 0
    pasted = content.clone()
    pasted[..., 20:] = style[..., 20:]
    assert content_leak(pasted, content, style) > 0.3 and outline_leak(pasted, content, style) > 0.2
    tinted = (content + torch.tensor([0.2, -0.1, -0.1])[:, None, None]).clamp(-1, 1)
    assert abs(content_leak(tinted, content, style)) < 0.1
