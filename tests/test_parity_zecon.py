"""ZeCon's losses against the values and gradients of the published code.

Not compared: the published warps of the CLIP losses, which ours do not copy (they fill 58 % of a view with gray), and
ZeCon over the three finer maps, whose network's weights are not among the recordings.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from tests.test_parity_adm import GUIDED, needs_recordings
from velatura.losses.clip import directional_distance, spherical_distance
from velatura.losses.range import out_of_range
from velatura.losses.vgg import feature_distance
from velatura.losses.zecon import patch_nce, unit

pytestmark = needs_recordings


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


@pytest.mark.parametrize("name", ["clip_global_loss", "clip_global_patch_loss"])
def test_global_clip_losses_of_recorded_embeddings(name: str) -> None:
    seen, wanted = values(f"clip/{name}", "embeds0", "value")
    ours = spherical_distance(seen, recorded()["clip/text_tgt"]).mean()
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["clip_dir_loss", "clip_dir_patch_loss"])
def test_directional_clip_losses_of_recorded_embeddings(name: str) -> None:
    seen, source, wanted = values(f"clip/{name}", "embeds0", "embeds1", "value")
    direction = recorded()["clip/text_tgt"] - recorded()["clip/text_src"]
    assert directional_distance(seen - source, direction).mean().item() == pytest.approx(wanted.item(), rel=1e-5)


def test_range_and_mse() -> None:
    x = leaf_of("range_loss")
    agrees("range_loss", out_of_range(x), x)
    x = leaf_of("mse_loss")
    agrees("mse_loss", (x - values("mse_loss", "y")[0]).square().mean(), x)


def test_vgg_features_and_their_distance() -> None:
    """The recorded network has VGG19's layers at other widths; ZeCon standardises pixels in [-1, 1] as if in [0, 1]."""
    weights = {key: value.float() for key, value in torch.load(GUIDED / "vgg_tiny.pt", weights_only=True).items()}
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def features(pixels: Tensor) -> dict[str, Tensor]:
        hidden, found = (pixels - mean) / std, {}
        for number, (index, pooled) in enumerate(((0, False), (2, False), (5, True))):
            hidden = F.max_pool2d(hidden, 2) if pooled else hidden
            hidden = F.relu(F.conv2d(hidden, weights[f"{index}.weight"], weights[f"{index}.bias"], padding=1))
            found[("relu1_1", "relu1_2", "relu2_1")[number]] = hidden
        return {name: found[name] for name in ("relu1_1", "relu2_1")}

    x = leaf_of("vgg_loss")
    agrees("vgg_loss", feature_distance(features(x), features(*values("vgg_loss", "y"))), x)
