"""The stroke network: a feed-forward style transfer network that gives what the fast UNet paints a style's strokes.

It has the shape of Magenta's (Ghiasi et al. 2017), whose weights its training started from (decision 23). It takes the
fast UNet's decoded picture, and style vectors that are standardised as the house model's are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.features.bundled_weights import SCALE, multiplied
from velatura.models.features.magenta import (
    CELL,
    STYLE_NUMBERS,
    StyleNorm,
    StyleTransformer,
    painted_enlarged,
    style_transformer,
)
from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.picture.blur import blurred
from velatura.picture.luma import luma
from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors

STROKES_FILE = "fast_strokes.safetensors"
CHROMA_BLUR = 1.5  # px: the deviation with which the strokes' chroma is blurred


@torch.no_grad()
def untrained_stroke_network(encoder: HouseImageEncoder) -> StyleTransformer:
    """Magenta's transfer network, changed so that it takes the standardised style vectors of an image ``encoder``."""
    network = copy.deepcopy(style_transformer(torch.device("cpu")))
    mean, std = (each[:STYLE_NUMBERS].float().cpu() for each in (encoder.mean, encoder.std))
    for norm in (module for module in network.modules() if isinstance(module, StyleNorm)):
        for linear in (norm.gain, norm.offset):
            linear.bias.add_(linear.weight @ mean)
            linear.weight.mul_(std)
    return network


def with_strokes(network: StyleTransformer, pixels: Tensor, vectors: Tensor, share: float | Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1], ``share`` (0..1, or a mask of B, 1, H, W) of the way to what the stroke
    ``network`` paints over them in the styles of standardised ``vectors`` (B, 100).

    That is the mean of two passes, half a cell of the network apart: one alone leaves the cells as fine dots.
    """
    passes = [painted_enlarged(network, pixels, vectors, shift) for shift in (0, CELL // 2)]
    return pixels + share * coarse_in_colour(torch.stack(passes).mean(0) - pixels)


def coarse_in_colour(added: Tensor) -> Tensor:
    """What strokes add to pixels (B, 3, H, W), with its luma as it is and its chroma blurred.

    In fine chroma the network would paint a purple and green hatching, which Gram matrices like and the eye does not.
    """
    light = luma(added)[:, None]
    return light + blurred(added - light, CHROMA_BLUR)


def save_stroke_network(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a stroke network's weights in fp16, its kernels as int8 with a scale for each output channel beside them.

    Raises OSError where that is impossible.
    """
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.ndim < 4:
            stored[name] = value.half()
            continue
        scale = (value.abs().amax((1, 2, 3)) / 127).clamp(min=1e-12)
        stored |= {name: (value / scale[:, None, None, None]).round().to(torch.int8), name + SCALE: scale.float()}
    write_tensors(path, stored, {})


def load_stroke_network(path: Path, device: torch.device) -> StyleTransformer:
    """The stroke network in a file: frozen; float32. Raises ModelError for a damaged file, or another's."""
    network = StyleTransformer()
    try:
        network.load_state_dict(multiplied(read_tensors(path)[0]))
    except (DamagedFileError, OSError) as error:
        raise ModelError(
            f"The stroke network {path} cannot be read ({error}): get it, or the package, again."
        ) from None
    except RuntimeError:
        raise ModelError(f"The file {path} holds no stroke network: get it, or the package, again.") from None
    return network.requires_grad_(False).eval().to(device)
