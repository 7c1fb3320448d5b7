"""The range loss: pixels that cannot be shown."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import Targets, View


class OutOfRange:
    """Mean squared distance of the pixels from [-1, 1] (Dhariwal & Nichol 2021's guided diffusion code)."""

    name = "range"
    layers: tuple[str, ...] = ()

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View) -> Tensor:
        return (view.pixels - view.pixels.clamp(-1, 1)).square().mean()
