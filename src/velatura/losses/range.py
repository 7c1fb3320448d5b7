"""The range loss: pixels that cannot be shown."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import Targets, View


def out_of_range(pixels: Tensor) -> Tensor:
    """Mean squared distance of each picture's pixels (B, C, H, W) from [-1, 1]: (B,)."""
    return (pixels - pixels.clamp(-1, 1)).square().mean((1, 2, 3))


class OutOfRange:
    """Mean squared distance of the pixels from [-1, 1] (Dhariwal & Nichol 2021's guided diffusion code)."""

    name = "range"
    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        return out_of_range(view.pixels).mean()
