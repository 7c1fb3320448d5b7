"""Total variation: how restless the pixels are."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import Targets, View


class TotalVariation:
    """Mean absolute difference of neighbouring pixels, horizontally and vertically."""

    name = "tv"
    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        x = view.pixels
        return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()
