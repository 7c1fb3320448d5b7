"""The stroke network: a feed-forward style transfer network that gives what the fast UNet paints a style's strokes.

It has Magenta's layers (Ghiasi et al. 2017), whose weights its training started from, with a blur before the halvings
(Zhang 2019, arXiv 1904.11486), smooth doublings and skip connections (decision 23). It takes the fast UNet's decoded
picture, and style vectors that are standardised as the house model's are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from velatura.picture.blur import binomial, blurred
from velatura.picture.luma import luma
from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors

STROKES_FILE = "fast_strokes.safetensors"
Shifts = Sequence[tuple[int, int]]
HALF_A_CELL_APART: Shifts = ((0, 0), (CELL // 2, CELL // 2))  # enlarged px down and right, of a picture's passes
CHROMA_BLUR = 1.5  # px: the deviation with which the strokes' chroma is blurred


class StrokeNetwork(StyleTransformer):
    """Magenta's transfer network with blurred halvings, smooth doublings and skip connections.

    Without them maps of a quarter of the side draw everything: smooth lines become steps of 4 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skips = nn.ModuleList(nn.Conv2d(before, width, 1, bias=False) for before, width in ((16, 32), (8, 16)))

    def contracted(self, squares: Tensor) -> list[Tensor]:
        """The maps of the whole, half and quarter side: 8, 16 and 32 channels; blurred before they are halved."""
        maps = [squares]
        for convolution in self.contract:
            x = maps[-1] if convolution.stride == (1, 1) else binomial(maps[-1], "reflect")
            maps.append(F.relu(convolution(x)))
        return maps[1:]

    def forward(self, squares: Tensor, vectors: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], sides divisible by 4, and style vectors (B, 100) to the first's shape and range."""
        fine, half, quarter = self.contracted(squares)
        x = self.restyled(quarter, vectors)
        for styled, skip, maps in zip(self.expand, self.skips, (half, fine), strict=True):
            doubled = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = F.relu(styled(doubled + skip(maps), vectors))
        return torch.sigmoid(self.colours(x, vectors))


@torch.no_grad()
def untrained_stroke_network(encoder: HouseImageEncoder) -> StrokeNetwork:
    """Magenta's weights, changed so that they take the standardised style vectors of an image ``encoder``, and skip
    connections that add nothing yet.
    """
    network = StrokeNetwork().requires_grad_(False).eval()
    network.load_state_dict(network.state_dict() | style_transformer(torch.device("cpu")).state_dict())
    for weight in network.skips.parameters():
        weight.zero_()
    mean, std = (each[:STYLE_NUMBERS].float().cpu() for each in (encoder.mean, encoder.std))
    for norm in (module for module in network.modules() if isinstance(module, StyleNorm)):
        for linear in (norm.gain, norm.offset):
            linear.bias.add_(linear.weight @ mean)
            linear.weight.mul_(std)
    return network


def with_strokes(
    network: StyleTransformer,
    pixels: Tensor,
    vectors: Tensor,
    share: float | Tensor,
    shifts: Shifts = HALF_A_CELL_APART,
) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1], ``share`` (0..1, or a mask of B, 1, H, W) of the way to what the stroke
    ``network`` paints over them in the styles of standardised ``vectors`` (B, 100).

    That is the mean of a pass for each of the ``shifts`` of the picture against the network's cells: of one pass alone
    they would be seen.
    """
    passes = [painted_enlarged(network, pixels, vectors, shift) for shift in shifts]
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


def load_stroke_network(path: Path, device: torch.device) -> StrokeNetwork:
    """The stroke network in a file: frozen; float32. Raises ModelError for a damaged file, or another's."""
    network = StrokeNetwork()
    try:
        network.load_state_dict(multiplied(read_tensors(path)[0]))
    except (DamagedFileError, OSError) as error:
        raise ModelError(
            f"The stroke network {path} cannot be read ({error}): get it, or the package, again."
        ) from None
    except RuntimeError:
        raise ModelError(f"The file {path} holds no stroke network: get it, or the package, again.") from None
    return network.requires_grad_(False).eval().to(device)
