"""Each loss against its closed form, and their weighted sum."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import smooth_pixels
from velatura.errors import SettingError
from velatura.losses import LOSSES, Targets, View, make_objective
from velatura.losses.colour import FLOOR, ColourMoments, colour_moments, transport_colours
from velatura.losses.gram import STYLE_LAYERS, GramDistance, gram_matrix, relative_gram_distance
from velatura.losses.mse import PixelMSE
from velatura.losses.range import OutOfRange
from velatura.losses.statistics import style_statistics
from velatura.losses.vgg import CONTENT_LAYER
from velatura.models.perceptual import HED, LAYERS, VGG16Trunk, hed_trunk


@pytest.fixture(scope="module")
def trunk() -> VGG16Trunk:
    torch.manual_seed(0)
    return VGG16Trunk("random", HED).requires_grad_(False)


def targets(trunk: VGG16Trunk) -> Targets:
    content, style = smooth_pixels(seed=0), smooth_pixels(seed=1)
    return Targets(View(content, trunk.features(content, (CONTENT_LAYER,))), style_statistics(style, trunk))


def test_gram_matrix_is_the_mean_outer_product() -> None:
    features = torch.randn(2, 3, 4, 5)
    expected = torch.einsum("bchw,bdhw->bcd", features, features) / 20
    assert torch.allclose(gram_matrix(features), expected, atol=1e-6)


def test_gram_ignores_places_and_units() -> None:
    features, other = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    shuffled = features.flatten(2)[:, :, torch.randperm(16)].reshape_as(features)
    assert torch.allclose(gram_matrix(features), gram_matrix(shuffled), atol=1e-6)
    plain = relative_gram_distance({"a": gram_matrix(features)}, {"a": gram_matrix(other)})
    scaled = relative_gram_distance({"a": gram_matrix(9 * features)}, {"a": gram_matrix(9 * other)})
    assert plain.item() == pytest.approx(scaled.item(), rel=1e-4)
    assert relative_gram_distance({"a": gram_matrix(features * 0)}, {"a": gram_matrix(other)}).item() == 1


def test_a_style_has_no_style_distance_to_itself(trunk: VGG16Trunk) -> None:
    style = smooth_pixels(seed=1)
    view = View(style, trunk.features(style, STYLE_LAYERS))
    assert GramDistance(targets(trunk))(view).item() < 1e-9
    assert ColourMoments(targets(trunk))(view).item() < 1e-9


def test_colour_moments_are_mean_and_covariance() -> None:
    pixels = torch.randn(1, 3, 50, 50)
    mean, factor = colour_moments(pixels)
    colours = pixels[0].flatten(1)
    assert torch.allclose(mean, colours.mean(1), atol=1e-5)
    covariance = torch.cov(colours, correction=0) + FLOOR * torch.eye(3)
    assert torch.allclose(factor @ factor.T, covariance, atol=1e-5)
    one_colour = colour_moments(torch.full((1, 3, 8, 8), 0.5))[1]
    assert one_colour.isfinite().all()


def test_transported_colours_have_the_wanted_moments_and_no_share_changes_nothing() -> None:
    pixels = 0.8 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    wanted = colour_moments(0.3 * smooth_pixels(seed=1) - 0.2)
    moved = colour_moments(transport_colours(pixels, *wanted, share=1.0))
    assert torch.allclose(moved[0], wanted[0], atol=1e-4)
    assert torch.allclose(moved[1], wanted[1], atol=2e-3)
    assert torch.equal(transport_colours(pixels, *wanted, share=0.0), pixels)


def test_colour_loss_of_a_shift_is_its_square(trunk: VGG16Trunk) -> None:
    style = smooth_pixels(seed=1)
    assert ColourMoments(targets(trunk))(View(style + 0.1, {})).item() == pytest.approx(3 * 0.01, rel=1e-3)


def test_pixel_loss_sees_light_and_not_colour(trunk: VGG16Trunk) -> None:
    content = smooth_pixels(seed=0)
    loss = PixelMSE(targets(trunk))
    assert loss(View(content + 0.1, {})).item() == pytest.approx(0.01, rel=1e-4)
    tinted = content + torch.tensor([0.114, 0, -0.299])[:, None, None]
    assert loss(View(tinted, {})).item() < 1e-10


def test_range_loss_counts_only_what_is_outside(trunk: VGG16Trunk) -> None:
    loss = OutOfRange(targets(trunk))
    assert loss(View(torch.ones(1, 3, 4, 4), {})).item() == 0
    assert loss(View(torch.full((1, 3, 4, 4), 1.5), {})).item() == pytest.approx(0.25)


def test_objective_is_the_weighted_sum_and_skips_zeros(trunk: VGG16Trunk) -> None:
    wanted = {"mse": 2.0, "gram": 0.5, "colour": 0.0, "vgg": 1.0, "range": 3.0}
    objective = make_objective(wanted, targets(trunk), trunk)
    total, values = objective(smooth_pixels(seed=2))
    assert set(values) == {"mse", "gram", "vgg", "range"}
    assert total.item() == pytest.approx(sum(wanted[name] * value for name, value in values.items()), rel=1e-5)
    assert all(value >= 0 for value in values.values())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_has_a_gradient(trunk: VGG16Trunk, name: str) -> None:
    pixels = (1.2 * smooth_pixels(seed=3)).requires_grad_()
    make_objective({name: 1.0}, targets(trunk), trunk)(pixels)[0].backward()
    assert pixels.grad is not None and pixels.grad.isfinite().all() and pixels.grad.abs().sum() > 0


def test_bad_weights_are_named(trunk: VGG16Trunk) -> None:
    with pytest.raises(SettingError, match=r"Unknown loss 'beauty'.*gram"):
        make_objective({"beauty": 1}, targets(trunk), trunk)
    with pytest.raises(SettingError, match="negative"):
        make_objective({"gram": -1}, targets(trunk), trunk)


def test_trunk_layers_have_vgg16s_shapes(trunk: VGG16Trunk) -> None:
    shapes = {
        layer: tuple(value.shape[1:]) for layer, value in trunk.features(torch.zeros(1, 3, 32, 32), LAYERS).items()
    }
    assert shapes["relu1_2"] == (64, 32, 32) and shapes["relu3_3"] == (256, 8, 8) and shapes["relu5_3"] == (512, 2, 2)
    with pytest.raises(ValueError, match="Unknown VGG16 layers"):
        trunk.features(torch.zeros(1, 3, 32, 32), ("relu9_9",))


def test_hed_trunk_answers_edges_and_not_flat_colour() -> None:
    trunk = hed_trunk()
    assert trunk.source == "hed" and not any(p.requires_grad for p in trunk.parameters())
    edge = torch.cat([torch.full((1, 3, 32, 16), -1.0), torch.full((1, 3, 32, 16), 1.0)], dim=3)
    spread = {
        name: trunk.features(pixels, ("relu3_1",))["relu3_1"][:, :, 2:-2, 2:-2].std((2, 3)).mean().item()
        for name, pixels in {"edge": edge, "flat": torch.zeros(1, 3, 32, 32)}.items()
    }
    assert spread["edge"] > 10 * spread["flat"]
