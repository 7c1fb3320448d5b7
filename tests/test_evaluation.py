"""The yardsticks: exact where a closed form exists, and ordered as they claim."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import smooth_image, smooth_pixels
from velatura.evaluation import (
    class_overlap,
    clipped_share,
    colour_distance,
    content_leak,
    edge_f1,
    feature_distance,
    gradient_agreement,
    gram_distance,
    invented_edges,
    lattice_level,
    lattice_ratio,
    local_structure,
    lpips_hedvgg,
    luminance_range,
    magenta_similarity,
    outline_leak,
    psnr,
    region_sharpness,
    ssim,
    texture_wavelength,
)
from velatura.evaluation.classes import ColourDistance, EdgeF1, GramDistance, LocalStructure
from velatura.picture import Picture, image_to_pixels
from velatura.picture.blur import blurred


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


def cat() -> Tensor:
    return image_to_pixels(Image.fromarray(data.chelsea()).resize((128, 96)))


def left_half(pixels: Tensor) -> Tensor:
    mask = torch.zeros_like(pixels[:1, :1])
    mask[..., : mask.shape[3] // 2] = 1
    return mask


def noise_like(pixels: Tensor, scale: float) -> Tensor:
    return (scale * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def test_structure_survives_recolouring_and_not_ruin() -> None:
    a = cat()
    recoloured = a[:, [2, 0, 1]] * torch.tensor([0.7, 0.8, 0.6])[:, None, None] + 0.1
    for metric in (gradient_agreement, local_structure):
        assert metric(a, a) == pytest.approx(1, abs=1e-4) and metric(-a, a) == pytest.approx(1, abs=1e-4)
        assert metric(a / 2, a) > 0.95  # a paler picture has all of it
        assert metric(recoloured, a) > 0.75
        softened = [metric(blurred(a, sigma), a) for sigma in (1.0, 2.0, 4.0)]
        assert metric(recoloured, a) > softened[2] and softened == sorted(softened, reverse=True)
        assert metric(a.roll(40, 3), a) < 0.45 and metric(0 * a, a) < 0.1


def test_gradients_turn_with_the_picture() -> None:
    ramp = torch.linspace(-1, 1, 48).expand(1, 3, 48, 48)
    slanted = ramp + ramp.mT
    assert gradient_agreement(ramp.mT, ramp) == pytest.approx(-1, abs=0.05)
    assert gradient_agreement(slanted / 2, ramp) == pytest.approx(0, abs=0.1)  # 45 degrees


def test_clipping_and_range_are_counted() -> None:
    ramp = torch.linspace(-1, 1, 256).expand(1, 3, 8, 256).contiguous()  # every level of 255
    assert clipped_share(ramp) == pytest.approx(4 / 256)
    assert clipped_share(2 * ramp) == pytest.approx(0.5, abs=0.02)
    assert clipped_share(2 * ramp, left_half(ramp).flip(3)) == clipped_share(2 * ramp, left_half(ramp))
    assert luminance_range(ramp, ramp, ramp) == pytest.approx(1)
    pale = 0.8 + 0.2 * ramp
    assert luminance_range(pale, ramp, pale) == pytest.approx(1)  # a pale style asks for no more
    assert luminance_range(pale, ramp, ramp) < 0.35
    assert luminance_range(ramp, ramp, ramp, left_half(ramp)) == pytest.approx(1)
    with pytest.raises(ValueError, match="no pixel"):
        clipped_share(ramp, 0 * left_half(ramp))


def test_a_lattice_is_seen_in_flat_places_and_strokes_are_none() -> None:
    sky = torch.linspace(-0.2, 0.4, 128)[:, None].expand(1, 3, 128, 128)
    across = torch.cos(torch.arange(128) * 2 * torch.pi / 8).expand(1, 3, 128, 128)
    found = lattice_level(sky + 0.1 * across, sky)
    assert found == pytest.approx(0.05 * 255 / 2**0.5, rel=0.02)  # the deviation of 0.05 cos, in levels
    assert lattice_level(sky + 0.1 * across.mT, sky) == pytest.approx(found, rel=1e-3)
    assert lattice_level(sky + 0.1 * across.roll(3, 3), sky) == pytest.approx(found, rel=1e-3)
    assert lattice_ratio(sky + 0.1 * across, sky) == pytest.approx(found, rel=1e-3)  # the sky's own counts as 1
    assert lattice_ratio(sky, sky) == 1
    assert lattice_level(sky + noise_like(sky, 0.05), sky) < 1.5
    sevens = torch.cos(torch.arange(128) * 2 * torch.pi / 5.3).expand(1, 3, 128, 128)
    assert lattice_level(sky + 0.1 * sevens, sky) < 0.3 * found
    busy = sky.clone()
    busy[..., :64] += noise_like(busy[..., :64], 0.5)
    assert lattice_level(busy + 0.1 * across * left_half(sky), busy) < 0.4 * found  # it lies where nothing is flat
    with pytest.raises(ValueError, match="at least 32"):
        lattice_level(sky[..., :24], sky[..., :24])


def test_invented_edges_are_counted_where_the_content_is_flat() -> None:
    content = torch.zeros(1, 3, 96, 96)
    content[..., 48:, :] = noise_like(content[..., 48:, :], 0.5)
    bar = content.clone()
    bar[..., 10:30, 20:76] = 1
    assert invented_edges(content, content) == 0
    assert invented_edges(bar, content) > 0.02
    busier = content.clone()
    busier[..., 56:, :] = -content[..., 56:, :]
    assert invented_edges(busier, content) == 0
    lower = torch.zeros(1, 1, 96, 96)
    lower[..., 60:, :] = 1
    assert invented_edges(bar, content, lower) == 0


def test_a_region_is_as_sharp_as_its_surroundings() -> None:
    a = cat()
    mask = left_half(a)
    softened = [region_sharpness(mask * blurred(a, sigma) + (1 - mask) * a, a, mask) for sigma in (0.5, 1.0, 2.0)]
    assert region_sharpness(a, a, mask) == pytest.approx(1)
    assert softened == sorted(softened, reverse=True) and softened[2] < 0.5
    assert region_sharpness(a + mask * noise_like(a, 0.2), a, mask) > 1.25


def test_masks_leave_the_rest_out() -> None:
    a = cat()
    mask = left_half(a)
    ruined = mask * a + (1 - mask) * 0.2
    whole = torch.ones_like(mask)
    assert edge_f1(ruined, a, mask=mask) > 0.9 > edge_f1(ruined, a)
    assert lpips_hedvgg(ruined, a, mask) < 0.5 * lpips_hedvgg(ruined, a)
    assert local_structure(ruined, a, mask) > 0.9 > local_structure(ruined, a)
    assert gradient_agreement(ruined, a, mask) > 0.9 > gradient_agreement(ruined, a)
    assert colour_distance(ruined, ruined, mask=whole) == 0
    assert lpips_hedvgg(ruined, a, whole) == pytest.approx(lpips_hedvgg(ruined, a), rel=1e-4)


def test_deep_features_are_compared_as_distributions() -> None:
    a, b = cat(), stripes()
    assert feature_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert feature_distance(a.flip(3), a) < 0.5 * feature_distance(b, a)
    pasted = torch.cat([a, b.expand_as(b)[..., :96, :96]], 3)
    mask = torch.zeros(1, 1, 96, pasted.shape[3])
    mask[..., :128] = 1
    assert feature_distance(pasted, a, mask) < feature_distance(pasted, a)


def test_features_are_kept_with_a_picture_and_go_when_it_changes() -> None:
    from velatura.evaluation.trunk_features import trunk_features

    a = cat()
    first = trunk_features(a)
    assert trunk_features(a) is first
    a.mul_(0.5)
    assert not torch.equal(trunk_features(a)["relu1_1"], first["relu1_1"])


def test_class_form_is_the_mean_of_the_function_over_all_batches() -> None:
    from torchmetrics import MetricCollection

    contents = torch.cat([cat(), cat().flip(3), cat() / 2])
    results = (contents + noise_like(contents, 0.2)).clamp(-1, 1)
    collection = MetricCollection([EdgeF1(), LocalStructure(), ColourDistance()])
    collection.update(results[:1], contents[:1])
    collection.update(results[1:], contents[1:])
    together = collection.compute()
    for name, function in (
        ("EdgeF1", edge_f1),
        ("LocalStructure", local_structure),
        ("ColourDistance", colour_distance),
    ):
        alone = [function(result, content) for result, content in zip(results.split(1), contents.split(1), strict=True)]
        assert together[name].item() == pytest.approx(sum(alone) / 3, rel=1e-5)
    with pytest.raises(ValueError, match="2 results and 1"):
        collection.update(results[:2], contents[:1])
    fresh = EdgeF1()
    with pytest.raises(ValueError, match="no picture"), pytest.warns(UserWarning):
        fresh.compute()


def test_metrics_take_pictures_as_well_as_tensors() -> None:
    generator = torch.Generator().manual_seed(5)
    images = [Image.fromarray(torch.randint(0, 256, (64, 72, 3), generator=generator).byte().numpy()) for _ in range(3)]
    result, content, style = (image_to_pixels(image) for image in images)
    opened = Picture.of(images[1])
    for score in (
        psnr,
        ssim,
        edge_f1,
        lpips_hedvgg,
        gradient_agreement,
        local_structure,
        invented_edges,
        lattice_ratio,
    ):
        assert score(images[0], opened) == score(result, content)
    for score in (gram_distance, feature_distance, colour_distance):
        assert score(images[0], images[2]) == score(result, style)
    assert luminance_range(*images) == luminance_range(result, content, style)
    assert clipped_share(images[0]) == clipped_share(result)


PAIRED = (psnr, ssim, edge_f1, lpips_hedvgg, gradient_agreement, local_structure, invented_edges, lattice_ratio)
OF_STYLE = (gram_distance, feature_distance, colour_distance)
BAD = [
    (torch.zeros(3, 64, 64), r"shape \(3, 64, 64\).*tensor\[None\]"),
    (torch.zeros(1, 1, 64, 64), "is no pictures"),
    (torch.zeros(0, 3, 64, 64), "is no pictures"),
    (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "uint8, not floats"),
    (torch.full((1, 3, 64, 64), 200.0), "from 200 to 200, not from -1 to 1"),
    (torch.full((1, 3, 64, 64), float("nan")), "not finite"),
    (torch.full((1, 3, 64, 64), float("inf")), "not finite"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_what_is_no_picture_has_no_score(bad: Tensor, message: str) -> None:
    good = torch.zeros(1, 3, 64, 64)
    for score in (*PAIRED, *OF_STYLE, EdgeF1().update, GramDistance().update):
        with pytest.raises(ValueError, match=message):
            score(bad, good)
        with pytest.raises(ValueError, match=message):
            score(good, bad)
    with pytest.raises(ValueError, match=message):
        clipped_share(bad)
    with pytest.raises(ValueError, match=message):
        luminance_range(good, good, bad)


def test_unequal_numbers_and_sizes_are_refused_and_a_path_too() -> None:
    two = torch.zeros(2, 3, 64, 64)
    for score in (*PAIRED, *OF_STYLE):
        with pytest.raises(ValueError, match="2 results and 1 pictures"):
            score(two, two[:1])
        with pytest.raises(TypeError, match=r"A str is no picture: .*open"):
            score("a.png", two)  # type: ignore[arg-type]
    for score in (*PAIRED, EdgeF1().update):
        with pytest.raises(ValueError, match="different sizes, 64 x 64 and 48 x 64"):
            score(two, two[..., :48])
    assert gram_distance(two, two[..., :48]) >= 0  # styles are of any size


def test_classes_take_pictures_and_add_all_of_a_batch_or_none() -> None:
    image = smooth_image()
    metric = EdgeF1()
    metric.update(image, Picture.of(image))
    assert metric.compute() == 1
    broken = torch.zeros(2, 3, 64, 64)
    broken[1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        metric.update(broken, torch.zeros(2, 3, 64, 64))
    assert metric.count == 1


def test_results_may_overshoot_and_be_of_short_numbers() -> None:
    pixels = smooth_pixels() * 1.2
    assert edge_f1(pixels, pixels) == 1
    assert edge_f1(pixels.bfloat16(), pixels.bfloat16()) == 1
    assert outline_leak(*[smooth_pixels(seed=seed).bfloat16() for seed in range(3)]) <= 1


def test_textures_waves_grow_with_a_picture_and_not_with_its_size() -> None:
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    large, small = blurred(noise, 1.0), blurred(noise[..., :128, :128], 1.0)
    enlarged = F.interpolate(small, scale_factor=2, mode="bicubic")
    assert texture_wavelength(large) == pytest.approx(texture_wavelength(small), rel=0.15)
    assert texture_wavelength(enlarged) == pytest.approx(2 * texture_wavelength(small), rel=0.05)
    assert texture_wavelength(0 * small) != texture_wavelength(0 * small)  # not a number: there is no structure
