"""The VGG trunk whose layers perceptual losses and distances look at."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.features.bundled_weights import load_bundled

Blocks = tuple[tuple[int, int], ...]  # (width, number of convolutions) of each
# Simonyan & Zisserman 2015, configurations D and E.
VGG16: Blocks = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
VGG19: Blocks = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
# torchvision's published ImageNet weights, by the names torch.hub caches them under.
IMAGENET_FILES: Mapping[str, Blocks] = {"vgg16-397923af.pth": VGG16, "vgg19-dcbb9e9d.pth": VGG19}


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
# ZeCon's: ImageNet's mean and deviation are those of [0, 1], but its pixels stay in [-1, 1].
UNSHIFTED = Preparation((0, 1, 2), 1.0, (1.485, 1.456, 1.406), IMAGENET.std)


def layers_of(blocks: Blocks) -> tuple[str, ...]:
    """The names of a VGG's layers: "relu1_1", "relu1_2", "relu2_1" and so on."""
    return tuple(f"relu{b}_{c}" for b, (_, count) in enumerate(blocks, 1) for c in range(1, count + 1))


class VGGTrunk(nn.Module):
    """The convolutions of a VGG; ``features`` returns the activations after named ReLUs.

    ``source`` says which weights it holds, for reports to repeat.
    """

    def __init__(self, source: str, preparation: Preparation, blocks: Blocks = VGG16) -> None:
        super().__init__()
        self.source, self.preparation, self.layers = source, preparation, layers_of(blocks)
        widths = [width for width, count in blocks for _ in range(count)]
        self.convolutions = nn.ModuleDict(
            {
                layer: nn.Conv2d(before, width, 3, padding=1)
                for layer, before, width in zip(self.layers, [3, *widths], widths, strict=False)
            }
        )

    def features(self, pixels: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Activations after each of ``layers`` ("relu1_1" and so on) for pixels (B, 3, H, W) in [-1, 1].

        They are in the number format of the weights. Raises ValueError for an unknown layer.
        """
        unknown = set(layers) - set(self.layers)
        if unknown:
            raise ValueError(f"Unknown VGG layers {sorted(unknown)}; known: {', '.join(self.layers)}")
        wanted: dict[str, Tensor] = {}
        dtype: torch.dtype = next(self.parameters()).dtype
        x = self.preparation(pixels.float()).to(dtype)
        for layer in self.layers:
            if layer.endswith("_1") and layer != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(self.convolutions[layer](x))
            if layer in layers:
                wanted[layer] = x
            if len(wanted) == len(set(layers)):
                break
        return wanted


@lru_cache(maxsize=1)
def hed_trunk() -> VGGTrunk:
    """The trunk of HED (Xie & Tu 2015), an edge detector grown from ImageNet's VGG16, trained on BSDS500.

    Frozen; float32; on the CPU (move a copy elsewhere). Raises ModelError when its weights are missing or damaged.
    """
    trunk = VGGTrunk("hed", HED)
    trunk.convolutions.load_state_dict(load_bundled("hed_trunk"))
    return trunk.requires_grad_(False).eval()


def with_published_weights(trunk: VGGTrunk, state: Mapping[str, Tensor]) -> VGGTrunk:
    """The trunk, frozen, holding the convolutions of a torchvision file or of its ``features`` alone."""
    numbers = {key: int(match[1]) for key in state if (match := re.fullmatch(r"(?:features\.)?(\d+)\.weight", key))}
    for layer, key in zip(trunk.layers, sorted(numbers, key=numbers.__getitem__), strict=True):
        parts = {"weight": state[key], "bias": state[key.replace("weight", "bias")]}
        trunk.convolutions[layer].load_state_dict(parts)
    return trunk.requires_grad_(False).eval()


def _best(names: Sequence[str], preparation: Preparation) -> VGGTrunk:
    """The first of torchvision's files in torch hub's cache; HED's trunk where there is none."""
    for name in names:
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
        if path.is_file():
            trunk = VGGTrunk(f"imagenet {name.split('-')[0]}", preparation, IMAGENET_FILES[name])
            return with_published_weights(trunk, torch.load(path, map_location="cpu", weights_only=True))
    return hed_trunk()


@lru_cache(maxsize=4)
def perceptual_trunk(device: torch.device, dtype: torch.dtype = torch.float32) -> VGGTrunk:
    """The best trunk at hand: ImageNet's where torch's hub cache holds its file, HED's otherwise.

    fp16 would overflow on HED's activations, so it runs in bf16 where fp16 is asked for.
    """
    trunk = _best(tuple(IMAGENET_FILES), IMAGENET)
    return copy.deepcopy(trunk).to(device, torch.bfloat16 if dtype == torch.float16 else dtype)


@lru_cache(maxsize=1)
def zecon_trunk(device: torch.device) -> VGGTrunk:
    """What ZeCon's VGG term looks through: ImageNet's VGG19 where it is cached, pixels prepared as it does."""
    return copy.deepcopy(_best(tuple(IMAGENET_FILES)[::-1], UNSHIFTED)).to(device)
