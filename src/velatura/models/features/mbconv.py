"""Inverted bottlenecks with ReLU6, the blocks that MobileNetV2 and EfficientNet-Lite are made of.

Batch normalisation is folded into the convolutions, so that each has a bias: these networks are not for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Stage:
    """A row of equal blocks: the first has ``stride`` and changes the width, the others keep both."""

    expansion: int
    kernel: int
    stride: int
    width: int
    blocks: int


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: ceil(side / stride) outputs, the odd zero on the right."""

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for side, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads) if any(pads) else input)


class MBConv(nn.Module):
    """Expand 1x1, depthwise, project 1x1 (Sandler et al. 2018); without squeeze-and-excitation.

    (B, before, H, W) to (B, width, ceil(H / stride), ceil(W / stride)), with a shortcut where the shape stays.
    """

    def __init__(self, before: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = before * stage.expansion
        self.shortcut = stride == 1 and before == stage.width
        self.expand = nn.Conv2d(before, inner, 1) if stage.expansion > 1 else None
        self.depthwise = SameConv2d(inner, inner, stage.kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, stage.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        projected: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return x + projected if self.shortcut else projected


class MobileTrunk(nn.Module):
    """A stem of stride 2, stages of inverted bottlenecks and a 1x1 head, all with ReLU6."""

    def __init__(self, stem: int, stages: Sequence[Stage], head: int) -> None:
        super().__init__()
        self.stem = SameConv2d(3, stem, 3, 2)
        blocks: list[nn.Module] = []
        width = stem
        for stage in stages:
            for number in range(stage.blocks):
                blocks.append(MBConv(width, stage, stage.stride if number == 0 else 1))
                width = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(width, head, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a processor

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, head) of prepared pictures (B, 3, H, W), mean over the last map's cells."""
        x = self.blocks(F.relu6(self.stem(x)))
        return F.relu6(self.head(x)).mean((2, 3))
