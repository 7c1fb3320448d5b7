"""Magenta's arbitrary style transfer (Ghiasi et al. 2017, arXiv 1705.06830): style vectors, and painting by them.

A style network turns a picture into 100 numbers; a transfer network paints a picture from such numbers. Both are the
small versions for phones. Published as int8; here their weights, multiplied out, with float arithmetic between.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.features.bundled_weights import load_bundled
from velatura.models.features.mbconv import MobileTrunk, Stage

STYLE_NUMBERS = 100
STYLE_SIDE = 256
TRANSFER_SIDE = 384
ENLARGED = 1.5  # pictures of 256 px, the house model's size, have the transfer network's size then
CELL = 4  # pixels of the transfer network's picture that its coarsest maps hold as one
EPSILON = 1e-5  # of the normalisations
# MobileNetV2 (Sandler et al. 2018).
STAGES = (
    Stage(expansion=1, kernel=3, stride=1, width=16, blocks=1),
    Stage(expansion=6, kernel=3, stride=2, width=24, blocks=2),
    Stage(expansion=6, kernel=3, stride=2, width=32, blocks=3),
    Stage(expansion=6, kernel=3, stride=2, width=64, blocks=4),
    Stage(expansion=6, kernel=3, stride=1, width=96, blocks=3),
    Stage(expansion=6, kernel=3, stride=2, width=160, blocks=3),
    Stage(expansion=6, kernel=3, stride=1, width=320, blocks=1),
)


class StylePredictor(nn.Module):
    """Style vectors (B, 100) of squares (B, 3, 256, 256) in [0, 1]: a MobileNetV2 and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MobileTrunk(32, STAGES, 1280)
        self.style = nn.Linear(1280, STYLE_NUMBERS, bias=False)

    def forward(self, squares: Tensor) -> Tensor:
        vectors: Tensor = self.style(self.trunk(squares))
        return vectors


class StyleNorm(nn.Module):
    """Instance normalisation whose gain and offset are linear in the style vector (Dumoulin et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Linear(STYLE_NUMBERS, width)
        self.offset = nn.Linear(STYLE_NUMBERS, width)

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        """(B, width, H, W) and style vectors (B, 100) to the first's shape."""
        gain, offset = (linear(vectors)[:, :, None, None] for linear in (self.gain, self.offset))
        styled: Tensor = F.instance_norm(x, eps=EPSILON) * gain + offset
        return styled


class StyledConv(nn.Module):
    """A convolution with mirrored borders, without a bias, and its ``StyleNorm``."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, width, kernel, padding=kernel // 2, padding_mode="reflect", bias=False)
        self.norm = StyleNorm(width)

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        """(B, before, H, W) and style vectors (B, 100) to (B, width, H, W)."""
        normalised: Tensor = self.norm(self.convolution(x), vectors)
        return normalised


class StyledResidual(nn.Module):
    """x + the second of two styled 3x3 convolutions, the first with ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = StyledConv(width, width, 3)
        self.second = StyledConv(width, width, 3)

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        """(B, width, H, W) and style vectors (B, 100) to the first's shape."""
        styled: Tensor = self.second(F.relu(self.first(x, vectors)), vectors)
        return x + styled


class StyleTransformer(nn.Module):
    """Paints squares (B, 3, 384, 384) in [0, 1] by style vectors (B, 100); same shape and range.

    Two halvings of the side, five residual blocks and two doublings; any side divisible by 4 goes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.contract = nn.ModuleList(
            nn.Conv2d(before, width, kernel, stride, padding=kernel // 2, padding_mode="reflect")
            for before, width, kernel, stride in ((3, 8, 9, 1), (8, 16, 3, 2), (16, 32, 3, 2))
        )
        self.residual = nn.ModuleList(StyledResidual(32) for _ in range(5))
        self.expand = nn.ModuleList((StyledConv(32, 16, 3), StyledConv(16, 8, 3)))
        self.colours = StyledConv(8, 3, 9)

    def forward(self, squares: Tensor, vectors: Tensor) -> Tensor:
        x = self.restyled(self.contracted(squares)[-1], vectors)
        for styled in self.expand:
            x = F.relu(styled(F.interpolate(x, scale_factor=2, mode="nearest"), vectors))
        return torch.sigmoid(self.colours(x, vectors))

    def contracted(self, squares: Tensor) -> list[Tensor]:
        """The maps of the whole, half and quarter side: 8, 16 and 32 channels."""
        maps = [squares]
        for convolution in self.contract:
            maps.append(F.relu(convolution(maps[-1])))
        return maps[1:]

    def restyled(self, coarse: Tensor, vectors: Tensor) -> Tensor:
        """Maps (B, 32, H / 4, W / 4), changed by the residual blocks."""
        for block in self.residual:
            coarse = block(coarse, vectors)
        return coarse


@lru_cache(maxsize=2)
def style_predictor(device: torch.device) -> StylePredictor:
    """The trained style network on ``device``: frozen; float32. Raises ModelError without its weights."""
    network = StylePredictor()
    network.load_state_dict(load_bundled("magenta_predictor"))
    return network.requires_grad_(False).eval().to(device)


@lru_cache(maxsize=2)
def style_transformer(device: torch.device) -> StyleTransformer:
    """The trained transfer network on ``device``: frozen; float32. Raises ModelError without its weights."""
    network = StyleTransformer()
    network.load_state_dict(load_bundled("magenta_transformer"))
    return network.requires_grad_(False).eval().to(device)


def _squashed(pixels: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 3, side, side) in [0, 1], as both networks expect."""
    square = F.interpolate(pixels.float(), (side, side), mode="bicubic", antialias=True)
    return ((square + 1) / 2).clamp(0, 1)


def style_vectors(pixels: Tensor) -> Tensor:
    """Style vectors of pictures: (B, 3, H, W) in [-1, 1] -> (B, 100), unscaled, float32, on the pixels' device.

    Differentiable with respect to the pixels. Raises ModelError when the weights are missing or damaged.
    """
    vectors: Tensor = style_predictor(pixels.device)(_squashed(pixels, STYLE_SIDE))
    return vectors


def paint_over(pixels: Tensor, vectors: Tensor) -> Tensor:
    """Paint pictures (B, 3, H, W) in [-1, 1] in the styles ``vectors`` (B, 100); same shape and range, float32.

    The network works on 384 x 384 squares; the result is scaled back to the input's size. Differentiable with respect
    to both. Raises ValueError unless there are as many styles as pictures, and ModelError when the weights are
    missing or damaged.
    """
    if len(pixels) != len(vectors):
        raise ValueError(f"{len(pixels)} pictures and {len(vectors)} style vectors: give one for each.")
    painter = style_transformer(pixels.device)
    painted = painter(_squashed(pixels, TRANSFER_SIDE), vectors.to(pixels.device, torch.float32))
    return F.interpolate(painted * 2 - 1, pixels.shape[-2:], mode="bicubic", antialias=True).clamp(-1, 1)


def painted_enlarged(
    network: StyleTransformer, pixels: Tensor, vectors: Tensor, shift: tuple[int, int] = (0, 0)
) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] that a transfer ``network`` paints in the styles ``vectors`` (B, 100) at 1.5
    times their size, so that strokes are those of pictures of 384 px; same shape, in about the same range.

    ``shift`` (down and right, 0 to 3 enlarged pixels) moves the picture against the network's cells. Differentiable
    with respect to the network's weights too.
    """
    height, width = (round(length * ENLARGED) for length in pixels.shape[2:])
    squares = ((F.interpolate(pixels, (height, width), mode="bicubic") + 1) / 2).clamp(0, 1)
    down, right = shift
    if down or right:
        squares = F.pad(squares, [right, CELL - right, down, CELL - down], mode="reflect")
    painted: Tensor = network(squares, vectors)[:, :, down : down + height, right : right + width]
    return F.interpolate(painted.float() * 2 - 1, pixels.shape[2:], mode="bicubic", antialias=True)
