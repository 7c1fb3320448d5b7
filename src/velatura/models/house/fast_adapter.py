"""The fast adapter: low-rank changes that let house's UNet paint a content, given beside its input, in a few calls.

An adapter maps names to tensors: ``NAME.down`` (rank, columns) and ``NAME.up`` (rows, rank), whose product is added to
the weight NAME, or ``NAME.delta``, of the weight's own shape. NAME is a weight of a ``fast_unet``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from velatura.errors import ModelError
from velatura.models.features.magenta import STYLE_NUMBERS

SMALLEST = 20_000  # numbers of a weight from which its change is kept as two matrices
DOWN, UP, DELTA = ".down", ".up", ".delta"
INPUT, STYLE_MAP = "conv_in.weight", "class_embedding"


def fast_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet that computes what ``unet`` does, and takes two things more, for which its new weights are zero.

    The content's latents stand beside the noisy ones in its input (B, 2 C, h, w); the style vector (B, 100), given as
    ``class_labels``, is mapped to the width of the time embedding and added to it. Frozen; float32.
    """
    options = {
        "in_channels": 2 * unet.config.in_channels,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": STYLE_NUMBERS,
    }
    # Without diffusers' own entries, one of which names the options that are to have their defaults.
    own_options = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    wider: UNet2DConditionModel = UNet2DConditionModel.from_config({**own_options, **options})
    own = {name: value.detach().float().cpu() for name, value in unet.state_dict().items()}
    missing = {name: torch.zeros_like(value) for name, value in wider.state_dict().items() if name not in own}
    own[INPUT] = F.pad(own[INPUT], (0, 0, 0, 0, 0, own[INPUT].shape[1]))
    wider.load_state_dict({**own, **missing})
    return wider.requires_grad_(False).eval()


def fresh_adapter(weights: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """An adapter for the ``weights`` of a ``fast_unet`` that changes nothing yet.

    Large weights get a pair of matrices, the first normal and the second zero. All others get their change itself. The
    first layer of the style vector's map begins at random, so that its second, zero, has something to learn from.
    """
    adapter: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name == INPUT or name.startswith(STYLE_MAP) or weight.numel() < SMALLEST:
            adapter[name + DELTA] = torch.zeros_like(weight)
            continue
        rows, columns = weight.flatten(1).shape
        kept = min(rank, rows, columns)
        adapter[name + DOWN] = torch.randn(kept, columns) / columns**0.5
        adapter[name + UP] = torch.zeros(rows, kept)
    first = adapter[f"{STYLE_MAP}.linear_1.weight{DELTA}"]
    first.normal_(std=first.shape[1] ** -0.5)
    return adapter


def of_rank(adapter: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The same adapter with products of this ``rank``, or less where a weight has no more.

    Larger ones are cut to their largest singular values; smaller ones get directions that change nothing yet.
    """
    changed = dict(adapter)
    for name in [key.removesuffix(UP) for key in adapter if key.endswith(UP)]:
        up, down = adapter[name + UP].float(), adapter[name + DOWN].float()
        kept = min(rank, len(up), down.shape[1])
        more = kept - len(down)
        if more < 0:
            left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
            roots = values[:kept].sqrt()
            up, down = left[:, :kept] * roots, roots[:, None] * right[:kept]
        elif more:
            up = F.pad(up, (0, more))
            down = torch.cat([down, torch.randn(more, down.shape[1], device=down.device) / down.shape[1] ** 0.5])
        changed |= {name + UP: up, name + DOWN: down}
    return changed


def adapted(weights: Mapping[str, Tensor], adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a ``fast_unet`` with the changes of an ``adapter``; differentiable with respect to these.

    Raises ModelError for an adapter that does not fit.
    """
    try:
        changed = {name: weight + _change(name, weight, adapter) for name, weight in weights.items()}
        known = {name.rsplit(".", 1)[0] for name in adapter}
    except (KeyError, RuntimeError):
        changed, known = {}, set()
    if known != set(weights):
        raise ModelError("The fast adapter does not fit this UNet: train it again with 'velatura train-house fast'.")
    return changed


def _change(name: str, weight: Tensor, adapter: Mapping[str, Tensor]) -> Tensor:
    delta = adapter.get(name + DELTA)
    return delta if delta is not None else (adapter[name + UP] @ adapter[name + DOWN]).view_as(weight)


def v_beside(unet: Any, noisy: Tensor, content: Tensor, timesteps: Tensor, style: tuple[Tensor, Tensor]) -> Tensor:
    """v (B, C, h, w) that a ``fast_unet`` finds in ``noisy`` latents beside those of the ``content``.

    ``style`` holds text states (B, L, W) and style vectors (B, 100).
    """
    states, vectors = style
    output: Tensor = unet(torch.cat([noisy, content], 1), timesteps, states, class_labels=vectors).sample
    return output
