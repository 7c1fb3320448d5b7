"""ZeCon's losses against the values and gradients of the published code, each under its recorded warps.

Not compared: ZeCon over the three finer maps, whose network's weights are not among the recordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_parity_adm import GUIDED, needs_recordings
from tests.tiny_clip import write_tiny_clip
from velatura.losses import LossInput, Targets
from velatura.losses.clip import directional_distance, spherical_distance
from velatura.losses.range import out_of_range
from velatura.losses.zecon import patch_contrast, patch_nce, unit
from velatura.models.encoders.clip import ClipImageEncoder
from velatura.models.features.vgg import UNSHIFTED, VGGTrunk, with_published_weights
from velatura.reproductions.zecon.losses import PublishedVGG, PublishedZeCon, Views, published_losses
from velatura.reproductions.zecon.targets import unnormalised_clip_targets_of_text
from velatura.reproductions.zecon.warps import Box, Warps, draw_patches, draw_warps, patches

pytestmark = needs_recordings
RECORDED_AREA = (0.01, 0.3)  # of the recorded patches


@lru_cache(maxsize=1)
def recorded() -> dict[str, Tensor]:
    return load_file(GUIDED / "zecon_losses.safetensors")


def values(name: str, *parts: str) -> list[Tensor]:
    return [recorded()[f"{name}/{part}"] for part in parts]


def agrees(name: str, ours: Tensor, leaf: Tensor) -> None:
    """Value within 1e-5 and the gradient of its sum within 5e-5, of the largest."""
    wanted, gradient = values(name, "value", "grad")
    assert torch.allclose(ours, wanted, atol=1e-5 * float(wanted.abs().max().clamp(min=1)))
    (found,) = torch.autograd.grad(ours.sum(), leaf)
    assert torch.allclose(found, gradient, atol=5e-5 * float(gradient.abs().max().clamp(min=1e-3)))


def leaf_of(name: str, part: str = "x") -> Tensor:
    return recorded()[f"{name}/{part}"].clone().requires_grad_()


@pytest.mark.parametrize("count", [1, 4, 16, 256])
def test_patch_nce(count: int) -> None:
    name = f"patchnce_{count}"
    query = leaf_of(name, "q")
    agrees(name, patch_nce(query, *values(name, "k")), query)


@pytest.mark.parametrize("layer", [3, 4])
def test_patch_nce_of_recorded_features(layer: int) -> None:
    query, key, wanted = values(f"zecon/layer{layer}", "q_first16", "k_first16", "loss_mean")
    assert patch_nce(query, key).mean().item() == pytest.approx(wanted.item(), rel=1e-5)


def test_unit_rows() -> None:
    rows = leaf_of("normalize")
    weights, wanted, gradient = values("normalize", "w", "value", "grad")
    ours = (unit(rows) * weights).sum(1)
    assert torch.allclose(ours, wanted, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(ours.sum(), rows)[0], gradient, atol=5e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("name", ["d_clip_loss", "d_clip_loss_equal_inputs"])
def test_spherical_distance(name: str) -> None:
    x = leaf_of(name)
    agrees(name, spherical_distance(x, *values(name, "y")), x)


def test_spherical_distance_of_opposites_has_a_gradient_where_the_published_has_none() -> None:
    x = leaf_of("d_clip_loss_opposite_inputs")
    y, wanted, gradient = values("d_clip_loss_opposite_inputs", "y", "value", "grad")
    ours = spherical_distance(x, y)
    assert ours.item() == pytest.approx(wanted.item(), rel=2e-3) and gradient.isnan().any()
    assert torch.autograd.grad(ours.sum(), x)[0].isfinite().all()


def test_directional_distance() -> None:
    name = "d_clip_dir_loss"
    x = leaf_of(name)
    y, given, wanted = values(name, "y", "prompt_x", "prompt_y")
    agrees(name, directional_distance(x - y, given - wanted), x)


def test_places_are_those_of_numpys_generator() -> None:
    """The recording seeded numpy with 5; finer maps come first."""
    maps = [torch.rand(1, 32, side, side, generator=torch.Generator().manual_seed(0)) for side in (64, 32, 16, 4, 2)]
    both = LossInput(torch.zeros(1), encoder_maps=tuple(maps))
    positions = [recorded()[f"zecon/layer{layer}/positions"].long() for layer in range(5)]
    expected = patch_contrast(maps, maps, positions)
    assert torch.equal(PublishedZeCon(targets(torch.Generator().manual_seed(5)))(both, both), expected)


def warps(name: str) -> Iterator[Warps]:
    """The recorded ones, six copies at a time."""
    affine, perspective = (recorded()[f"{name}/{kind}_matrix"].view(-1, 6, 3, 3) for kind in ("affine", "persp"))
    return (Warps(*pair) for pair in zip(affine, perspective, strict=True))


def boxes(name: str) -> list[Box]:
    return [tuple(box) for box in recorded()[f"{name}/crop_x0y0x1y1_inclusive"].int().tolist()]


@pytest.mark.parametrize("kind", ["image", "patch"])
def test_views(kind: str) -> None:
    name, x = f"aug/{kind}", leaf_of("aug")
    views = next(warps(name))(patches(x, boxes(name)) if kind == "patch" else x.expand(6, -1, -1, -1))
    part, means = values(name, "out_every_4th_pixel", "out_mean_per_copy")
    assert torch.allclose(views.mean((1, 2, 3)), means, atol=1e-5)
    assert torch.allclose(views[:1, :, ::4, ::4], part, atol=2e-5)
    if kind == "patch":
        (gradient,) = torch.autograd.grad(0.5 * views.square().sum(), x)
        wanted = recorded()["aug/patch/grad_of_half_sum_out_squared"]
        assert torch.allclose(gradient, wanted, atol=5e-5 * float(wanted.abs().max()))


@pytest.fixture(scope="module")
def image_encoder(tmp_path_factory: pytest.TempPathFactory) -> ClipImageEncoder:
    """The recorded tiny CLIP's image tower."""
    folder = tmp_path_factory.mktemp("clip")
    write_tiny_clip(GUIDED, folder)
    return ClipImageEncoder(str(folder), torch.device("cpu"))


def targets(draws: torch.Generator, encoder: ClipImageEncoder | None = None) -> Targets:
    clip_targets = unnormalised_clip_targets_of_text(recorded()["clip/text_tgt"], recorded()["clip/text_src"])
    return Targets(LossInput(torch.zeros(1)), None, (), VGGTrunk("none", UNSHIFTED), encoder, clip_targets, draws)


SEEDS = {"aug/image": 77, "aug/patch": 77, "clip/clip_global_loss": 79, "clip/clip_global_patch_loss": 79}


@pytest.mark.parametrize("name", SEEDS)
def test_views_are_drawn_from_the_seed_as_by_kornia(name: str) -> None:
    draws = torch.Generator().manual_seed(SEEDS[name])
    if "patch" in name:
        drawn, found = draw_patches(6, (64, 64), RECORDED_AREA, draws)
        assert drawn == boxes(name)
    else:
        found = draw_warps(6, (64, 64), draws)
    expected = next(warps(name))
    for ours, wanted in ((found.affine, expected.affine), (found.perspective, expected.perspective)):
        assert torch.allclose(ours, wanted, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["clip", "clip_patch", "clip_dir", "clip_dir_patch"])
def test_clip_losses(name: str, image_encoder: ClipImageEncoder) -> None:
    """Their views are drawn from the seed too."""
    entry = {
        "clip": "clip/clip_global_loss",
        "clip_patch": "clip/clip_global_patch_loss",
        "clip_dir": "clip/clip_dir_loss",
        "clip_dir_patch": "clip/clip_dir_patch_loss",
    }[name]
    x, y = recorded()["aug/x"].clone().requires_grad_(), recorded()["clip/y"]
    losses = published_losses(Views(6, RECORDED_AREA))
    loss = losses[name](targets(torch.Generator().manual_seed(79), image_encoder))(LossInput(x), LossInput(y))
    agrees(entry, loss, x)


def test_range_and_mse() -> None:
    x = leaf_of("range_loss")
    agrees("range_loss", out_of_range(x), x)
    x = leaf_of("mse_loss")
    agrees("mse_loss", (x - values("mse_loss", "y")[0]).square().mean(), x)


def test_vgg_features_and_their_distance() -> None:
    """The recorded network has VGG19's layers at other widths."""
    blocks = ((8, 2), (16, 2), (16, 4), (32, 4), (32, 4))
    state = {key: value.float() for key, value in torch.load(GUIDED / "vgg_tiny.pt", weights_only=True).items()}
    trunk = with_published_weights(VGGTrunk("tiny", UNSHIFTED, blocks), state)
    loss = PublishedVGG(targets(torch.Generator()))
    x, y = leaf_of("vgg_loss"), recorded()["vgg_loss/y"]
    ours, theirs = (LossInput(pixels, trunk.features(pixels, loss.layers)) for pixels in (x, y))
    agrees("vgg_loss", loss(ours, theirs), x)
    deep = trunk.features(x, ("relu4_1", "relu5_1", "relu5_2"))
    for layer, value in deep.items():
        wanted = recorded()[f"vgg_features/{layer.replace('relu', 'conv')}"]
        assert torch.allclose(value, wanted, atol=1e-4 * float(wanted.abs().max()))
