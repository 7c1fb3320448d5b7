"""HED, a convolutional edge detector (Xie & Tu 2015): soft edges of a picture, dark lines on white."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.features.bundled_weights import load_bundled
from velatura.models.features.vgg import hed_trunk

# The last layer of each VGG16 block, where the side outputs sit, and its width.
SIDE_WIDTHS: Mapping[str, int] = {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512}
SIDE_LAYERS = tuple(SIDE_WIDTHS)


class HEDHeads(nn.Module):
    """HED's five side outputs, 1x1 convolutions over VGG16's blocks, and the 1x1 convolution that fuses them."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = nn.ModuleDict({layer: nn.Conv2d(width, 1, 1) for layer, width in SIDE_WIDTHS.items()})
        self.fuse = nn.Conv2d(len(SIDE_WIDTHS), 1, 1)

    def forward(self, features: Mapping[str, Tensor], size: torch.Size | tuple[int, int]) -> Tensor:
        """Edge probability (B, 1, *size) from the activations of ``SIDE_LAYERS``."""
        sides = [F.interpolate(self.sides[layer](features[layer]), size, mode="bilinear") for layer in SIDE_LAYERS]
        return torch.sigmoid(self.fuse(torch.cat(sides, 1)))


@lru_cache(maxsize=1)
def hed_heads() -> HEDHeads:
    """The trained heads: frozen; float32; on the CPU. Raises ModelError when their weights are missing or damaged."""
    heads = HEDHeads()
    heads.load_state_dict(load_bundled("hed_heads"))
    return heads.requires_grad_(False).eval()


@torch.no_grad()
def hed_edges(pixels: Tensor) -> Tensor:
    """HED's soft edges of (B, 3, H, W) in [-1, 1], inverted, same shape and range (Xie & Tu 2015).

    Raises ModelError when the weights are missing or damaged.
    """
    features = hed_trunk().features(pixels.float().cpu(), SIDE_LAYERS)
    probability: Tensor = hed_heads()(features, pixels.shape[2:]).to(pixels.device)
    return (1 - 2 * probability).expand(-1, 3, -1, -1)
