"""Each loss against its closed form, and their weighted sum."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import smooth_pixels
from velatura.errors import ModelError, SettingError
from velatura.losses import LOSSES, LossInput, Objective, Targets, make_objective
from velatura.losses.clip import directional_distance, spherical_distance
from velatura.losses.clip_targets import clip_targets_of_picture, destyled
from velatura.losses.clip_views import RotatedRectangle, draw_rectangles, resample
from velatura.losses.crop import crops_over
from velatura.losses.detail import local_detail, local_mean, with_gradient_weights
from velatura.losses.gram import gram_matrix, relative_gram_distance
from velatura.losses.statistics import style_statistics
from velatura.losses.wasserstein import Sliced, slices_of, unit_directions
from velatura.losses.zecon import draw_positions, patch_contrast, patch_nce, unit
from velatura.models.encoders import choice
from velatura.models.features.vgg import HED, VGGTrunk, hed_trunk
from velatura.picture.colour import FLOOR, colour_moments, transport_colours
from velatura.span import Span


@pytest.fixture(scope="module")
def trunk() -> VGGTrunk:
    torch.manual_seed(0)
    return VGGTrunk("random", HED).requires_grad_(False)


def targets(trunk: VGGTrunk) -> Targets:
    content, style = smooth_pixels(seed=0), smooth_pixels(seed=1)
    clip_targets = clip_targets_of_picture(style, Stand(), draws())
    return Targets(LossInput(content), style_statistics(style, trunk), [(style, 1.0)], trunk, Stand(), clip_targets)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Stand:
    """An image encoder small enough for a test: means over a coarse grid."""

    source = "stand-in"

    def __call__(self, pixels: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pixels, 4).flatten(1)

    def projected(self, pixels: Tensor) -> Tensor:
        return self(pixels)


def encoder(latents: Tensor) -> tuple[Tensor, ...]:
    """Two maps of (1, 3, H, W), fine and coarse."""
    kernel = torch.randn(8, 3, 3, 3, generator=draws())
    fine = F.conv2d(latents, kernel, padding=1)
    return fine, F.avg_pool2d(fine, 4)


def loss_input(objective: Objective, pixels: Tensor) -> LossInput:
    return objective.loss_input(pixels, pixels, objective.terms)


def value(name: str, trunk: VGGTrunk, pixels: Tensor) -> Tensor:
    """One loss of a picture against the usual content and style."""
    objective = make_objective({name: 1.0}, targets(trunk), encoder=encoder)
    return objective(pixels, pixels, loss_input(objective, smooth_pixels(seed=0)))[0]


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


@pytest.mark.parametrize("name", ["gram", "colour", "texture", "palette"])
def test_a_style_has_no_style_distance_to_itself(trunk: VGGTrunk, name: str) -> None:
    style = smooth_pixels(seed=1)
    own, other = (value(name, trunk, pixels).item() for pixels in (style, smooth_pixels(seed=2)))
    # Of 4096 points the last two look at half, drawn anew: they know their own style up to that.
    assert own < (0.1 * other if name in ("texture", "palette") else 1e-6) and other > 1e-6


@pytest.mark.parametrize("name", ["mse", "mse_rgb", "vgg", "vgg_shallow", "structure"])
def test_a_content_has_no_content_distance_to_itself(trunk: VGGTrunk, name: str) -> None:
    content = smooth_pixels(seed=0)
    assert value(name, trunk, content).item() < 1e-9 < value(name, trunk, smooth_pixels(seed=2)).item()


def test_colour_moments_are_mean_and_covariance() -> None:
    pixels = torch.randn(1, 3, 50, 50)
    mean, factor = colour_moments(pixels)
    colours = pixels[0].flatten(1)
    assert torch.allclose(mean, colours.mean(1), atol=1e-5)
    covariance = torch.cov(colours, correction=0) + FLOOR * torch.eye(3)
    assert torch.allclose(factor @ factor.T, covariance, atol=1e-5)
    one_colour = colour_moments(torch.full((1, 3, 8, 8), 0.5))[1]
    assert one_colour.isfinite().all()


def test_weighed_colour_moments_are_those_of_what_is_weighed() -> None:
    pixels, shares = torch.randn(1, 3, 20, 30), torch.zeros(1, 1, 20, 30)
    shares[..., :10] = 0.5
    for ours, theirs in zip(colour_moments(pixels, shares), colour_moments(pixels[..., :10]), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_transported_colours_have_the_wanted_moments_and_no_share_changes_nothing() -> None:
    pixels = 0.8 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    wanted = colour_moments(0.3 * smooth_pixels(seed=1) - 0.2)
    moved = colour_moments(transport_colours(pixels, *wanted, share=1.0))
    assert torch.allclose(moved[0], wanted[0], atol=1e-4)
    assert torch.allclose(moved[1], wanted[1], atol=2e-3)
    assert torch.equal(transport_colours(pixels, *wanted, share=0.0), pixels)


def test_colour_loss_of_a_shift_is_its_square_and_of_the_palette_its_mean_projection(trunk: VGGTrunk) -> None:
    style = smooth_pixels(seed=1)
    assert value("colour", trunk, style + 0.1).item() == pytest.approx(3 * 0.01, rel=1e-3)
    cloud, directions = torch.randn(3, 500), unit_directions(16, 3, draws())
    shift = torch.tensor([0.3, -0.1, 0.2])
    expected = (directions @ shift).abs().mean().item()
    assert Sliced.of(cloud, directions).distance(cloud + shift[:, None]).item() == pytest.approx(expected, rel=1e-4)


def test_sliced_wasserstein_ignores_order_and_number() -> None:
    cloud, directions = torch.randn(3, 400), unit_directions(8, 3, draws())
    assert Sliced.of(cloud, directions).distance(cloud[:, torch.randperm(400)]).item() < 1e-6
    assert Sliced.of(cloud, directions).distance(cloud.repeat(1, 2)).item() < 0.02


def test_a_cloud_is_sorted_along_several_sets_of_unit_directions() -> None:
    cloud = torch.randn(3, 400)
    first, *others = slices_of([(cloud, 1.0)], 8, draws())
    assert others and all(not torch.allclose(first.directions, other.directions) for other in others)
    for part in (first, *others):
        assert torch.allclose(part.directions.norm(dim=1), torch.ones(8))
        assert (part.along.diff(dim=1) >= 0).all()
        assert part.distance(cloud) == 0


@pytest.mark.parametrize("size", [(256, 256), (256, 341), (90, 700), (128, 60), (300, 1200)])
def test_crops_cover_the_picture_and_lie_in_it(size: tuple[int, int]) -> None:
    covered, crops = torch.zeros(1, 1, *size), crops_over(size, 128, draws())
    for crop in crops:
        inside = crop.of(covered)
        assert inside.shape[2:] == (crop.height, crop.width) and inside.numel() > 0
        inside += 1
    assert (covered > 0).all()
    assert len(set(crops)) == len(crops) <= 20
    assert crops_over(size, 128, draws()) == crops
    (whole,) = crops_over(size, 0, draws())
    assert torch.equal(whole.of(covered), covered)


def test_crops_stay_where_the_region_is() -> None:
    share = torch.zeros(1, 1, 32, 32)
    share[:, :, :8, :8] = 1
    assert {(crop.top, crop.left) for crop in crops_over((256, 256), 96, draws(), share)} == {(0, 0)}
    assert len(crops_over((256, 256), 96, draws(), torch.zeros(1, 1, 32, 32))) == 16


def test_pixel_loss_sees_light_and_not_colour(trunk: VGGTrunk) -> None:
    content = smooth_pixels(seed=0)
    assert value("mse", trunk, content + 0.1).item() == pytest.approx(0.01, rel=1e-4)
    tinted = content + torch.tensor([0.114, 0, -0.299])[:, None, None]
    assert value("mse", trunk, tinted).item() < 1e-10
    assert value("mse_rgb", trunk, tinted).item() == pytest.approx((0.114**2 + 0.299**2) / 3, rel=1e-4)


def test_structure_survives_new_light_and_colours_but_not_a_negative_or_a_thing_in_the_sky(trunk: VGGTrunk) -> None:
    content = smooth_pixels(seed=0)
    recoloured = 0.4 * content + torch.tensor([0.3, 0.0, -0.2])[:, None, None]
    assert value("structure", trunk, recoloured).item() < 1e-6
    assert value("structure", trunk, -content) > value("structure", trunk, smooth_pixels(seed=2)) > 0.1
    flat, thing = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    thing[..., 20:30, 20:30] = 0.5
    halves = torch.cat([flat, content], 3)
    structure = LOSSES["structure"](replace(targets(trunk), content=LossInput(halves)))
    same, invented = (structure(LossInput(torch.cat([sky, content], 3)), LossInput(halves)) for sky in (flat, thing))
    assert same.item() < 1e-9 < 0.01 < invented.item()


def test_a_local_mean_is_that_of_what_the_window_has_of_the_picture() -> None:
    maps = torch.rand(2, 1, 9, 14)
    expected = F.avg_pool2d(maps, 7, 1, 3, count_include_pad=False)
    assert torch.allclose(local_mean(maps, 7), expected, atol=1e-6)
    assert torch.allclose(local_mean(maps, 63), maps.mean((2, 3), keepdim=True), atol=1e-6)


def test_structure_is_the_originals_where_the_content_was_recoloured(trunk: VGGTrunk) -> None:
    original, recoloured = smooth_pixels(seed=0), smooth_pixels(seed=2)
    known = replace(targets(trunk), content=LossInput(recoloured), original=original)
    structure = LOSSES["structure"](known)
    ours, theirs = (structure(LossInput(pixels), LossInput(recoloured)).item() for pixels in (original, recoloured))
    assert ours < 1e-9 < theirs


def test_detail_is_one_where_most_goes_on_and_least_where_nothing_does() -> None:
    pixels = torch.zeros(1, 3, 96, 96)
    pixels[..., 60:, 60:] = torch.rand(1, 3, 36, 36, generator=draws())
    detail = local_detail(pixels, 0.2)
    assert detail.shape == (1, 1, 96, 96)
    assert detail[..., :30, :30].max().item() == pytest.approx(0.2) and detail.max().item() == pytest.approx(1)
    assert (local_detail(0 * pixels, 0.2) == 0.2).all()


def test_gradient_weights_change_the_gradient_and_not_the_pixels() -> None:
    pixels, weights = smooth_pixels(seed=3).requires_grad_(), torch.rand(1, 1, 64, 64, generator=draws())
    weighted = with_gradient_weights(pixels, weights[..., : pixels.shape[2], : pixels.shape[3]])
    assert torch.allclose(weighted, pixels, atol=1e-6)
    weighted.sum().backward()
    assert pixels.grad is not None and torch.allclose(pixels.grad, weights.expand_as(pixels))


def test_flat_places_get_less_of_the_push_towards_colours_and_textures_and_all_of_the_contents(trunk: VGGTrunk) -> None:
    content, pixels = smooth_pixels(seed=0), smooth_pixels(seed=3)
    weights = torch.ones(1, 1, 64, 64)
    weights[..., :32] = 0
    for name, calm in (("palette", True), ("texture", True), ("mse", False), ("structure", False)):
        objective = replace(make_objective({name: 1.0}, targets(trunk)), detail=weights)
        moved = pixels.clone().requires_grad_()
        objective(moved, moved, loss_input(objective, content))[0].backward()
        assert moved.grad is not None and (moved.grad[..., :32].abs().sum() == 0).item() == calm
        assert moved.grad[..., 32:].abs().sum() > 0


def test_range_loss_counts_only_what_is_outside(trunk: VGGTrunk) -> None:
    assert value("range", trunk, torch.ones(1, 3, 64, 64)).item() == 0
    assert value("range", trunk, torch.full((1, 3, 64, 64), 1.5)).item() == pytest.approx(0.25)


def test_total_variation_of_a_ramp_is_its_slope(trunk: VGGTrunk) -> None:
    ramp = (torch.arange(64) * 0.01).expand(1, 3, 64, 64)
    assert value("tv", trunk, ramp).item() == pytest.approx(0.01, rel=1e-4)
    assert value("tv", trunk, 0 * ramp).item() == 0


def test_zecon_is_lowest_for_what_stands_in_its_place() -> None:
    ours = encoder(smooth_pixels(seed=0))
    places = draw_positions(ours, draws())
    assert [len(place) for place in places] == [256, 256] and len(places[0].unique()) == 256
    aligned = patch_contrast(ours, ours, places)
    moved = patch_contrast([level.roll(7, 3) for level in ours], ours, places)
    assert aligned < moved
    order = [place[torch.randperm(256)] for place in places]
    assert patch_contrast(ours, ours, order).item() == pytest.approx(aligned.item(), rel=1e-4)


def test_zecons_keys_get_no_gradient() -> None:
    query, key = (torch.randn(8, 4).requires_grad_() for _ in "qk")
    patch_nce(query, key).sum().backward()
    assert key.grad is None and query.grad is not None
    assert patch_nce(unit(query.detach()[:1]), unit(query.detach()[:1])).item() == pytest.approx(0, abs=1e-5)


def test_spherical_distance_is_half_the_squared_angle_and_has_a_slope_everywhere() -> None:
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert spherical_distance(x, y).item() == pytest.approx(torch.pi**2 / 8, rel=1e-5)
    for other in (3 * x, -x):
        at = x.clone().requires_grad_()
        spherical_distance(at, other).sum().backward()
        assert at.grad is not None and at.grad.isfinite().all()
    assert spherical_distance(x, 3 * x).item() == pytest.approx(0, abs=1e-6)
    assert directional_distance(x, torch.tensor([[5.0, 0.0]])).item() == pytest.approx(0, abs=1e-6)


def test_a_crop_of_everything_is_the_picture_and_crops_show_what_they_name() -> None:
    pixels = smooth_pixels(64, 64, seed=4)
    assert torch.allclose(resample(pixels, [RotatedRectangle(0, 0, 1, 1, 0)], 64), pixels, atol=1e-5)
    quarter = resample(pixels, [RotatedRectangle(-0.5, -0.5, 0.5, 0.5, 0)], 32)
    assert torch.allclose(quarter, pixels[..., :32, :32], atol=1e-5)
    wide = resample(smooth_pixels(40, 120, seed=4), draw_rectangles(5, (0.01, 0.05), draws()), 16)
    assert wide.shape == (5, 3, 16, 16) and wide.isfinite().all()


def test_destyling_takes_colour_and_detail() -> None:
    plain = destyled(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert torch.equal(plain[:, 0], plain[:, 2]) and plain.std() < 0.3


def test_a_loss_counts_only_in_its_span(trunk: VGGTrunk) -> None:
    objective = make_objective({"mse": 1.0, "tv": 1.0}, targets(trunk), {"tv": Span(0.5, 1.0)})
    content = smooth_pixels(seed=0)
    early, late = (objective(content, content, loss_input(objective, content), at)[1] for at in (0.2, 0.7))
    assert set(early) == {"mse"} and set(late) == {"mse", "tv"}
    assert [len(objective.acting(at)) for at in (0.49, 0.5)] == [1, 2]
    with pytest.raises(SettingError, match="must lie in 0-1"):
        make_objective({"mse": 1.0}, targets(trunk), {"mse": Span(0.7, 0.2)})


def test_a_style_in_words_has_no_picture_to_compare_with(trunk: VGGTrunk) -> None:
    bare = Targets(LossInput(smooth_pixels()), None, (), trunk)
    for name in ("gram", "colour", "palette", "texture"):
        with pytest.raises(SettingError, match=f"loss {name} needs a style picture"):
            make_objective({name: 1.0}, bare)


def test_objective_is_the_weighted_sum_and_skips_zeros(trunk: VGGTrunk) -> None:
    wanted = {"mse": 2.0, "gram": 0.5, "colour": 0.0, "vgg": 1.0, "range": 3.0}
    objective = make_objective(wanted, targets(trunk))
    content, pixels = smooth_pixels(seed=0), smooth_pixels(seed=2)
    total, values = objective(pixels, pixels, loss_input(objective, content))
    assert set(values) == {"mse", "gram", "vgg", "range"}
    assert total.item() == pytest.approx(sum(wanted[name] * found for name, found in values.items()), rel=1e-5)
    assert all(found >= 0 for found in values.values())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_has_a_gradient(trunk: VGGTrunk, name: str) -> None:
    pixels = (1.2 * smooth_pixels(seed=3)).requires_grad_()
    value(name, trunk, pixels).backward()
    assert pixels.grad is not None and pixels.grad.isfinite().all() and pixels.grad.abs().sum() > 0


def test_bad_weights_are_named(trunk: VGGTrunk) -> None:
    with pytest.raises(SettingError, match=r"Unknown loss 'beauty'.*gram"):
        make_objective({"beauty": 1}, targets(trunk))
    with pytest.raises(SettingError, match="must be from 0 to 1,000,000, not -"):
        make_objective({"gram": -1}, targets(trunk))


def test_trunk_layers_have_vgg16s_shapes(trunk: VGGTrunk) -> None:
    shapes = {
        layer: tuple(value.shape[1:])
        for layer, value in trunk.features(torch.zeros(1, 3, 32, 32), trunk.layers).items()
    }
    assert shapes["relu1_2"] == (64, 32, 32) and shapes["relu3_3"] == (256, 8, 8) and shapes["relu5_3"] == (512, 2, 2)
    with pytest.raises(ValueError, match="Unknown VGG layers"):
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


def test_the_stand_in_for_clip_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(*_: object) -> None:
        raise ModelError("no network")

    monkeypatch.setattr(choice, "clip_image_encoder", unavailable)
    chosen = [choice.image_encoder_for("some/model", torch.device("cpu"), "clip-b16") for _ in range(2)]
    choice.image_encoder_for.cache_clear()
    assert chosen[0] is chosen[1] and "in place of CLIP" in chosen[0].source
    assert [record.message for record in caplog.records] == [
        "The CLIP losses use EfficientNet-Lite0, because CLIP cannot be had: no network"
    ]
