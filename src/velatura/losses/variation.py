"""Total variation of the pixels."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import LossInput, Targets


class TotalVariation:
    """The mean absolute difference of horizontal neighbours plus that of vertical ones (Rudin et al. 1992)."""

    name = "tv"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        x = result.pixels
        return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()
