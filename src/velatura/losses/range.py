"""The range loss, which keeps pixels within [-1, 1]."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import LossInput, Targets


def out_of_range(pixels: Tensor) -> Tensor:
    """The mean squared distance of each picture's pixels (B, C, H, W) from [-1, 1]: (B,)."""
    return (pixels - pixels.clamp(-1, 1)).square().mean((1, 2, 3))


class OutOfRange:
    """Mean squared distance of the pixels from [-1, 1] (Dhariwal & Nichol 2021's guided diffusion code)."""

    name = "range"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return out_of_range(result.pixels).mean()
