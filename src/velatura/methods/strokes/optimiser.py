"""One step of the stroke network's optimisation, for its training and for its tuning to a style."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.losses.strokes import StrokeLosses
from velatura.methods.strokes.pictures import PaintedRows
from velatura.models.features.magenta import CELL
from velatura.models.features.vgg import perceptual_trunk
from velatura.models.house.stroke_network import Shifts, StrokeNetwork, with_strokes

TRAINED_SHARE = 0.65  # of a picture that is the network's, the rest being what it was given


class StrokeOptimiser:
    """AdamW on the weights of ``network``, by the losses of ``StrokeLosses`` under ``weights``, by name.

    Each picture is the mean of two passes, a random part of a cell apart: textures that follow the network's cells
    rather than the picture's forms gain nothing.
    """

    def __init__(
        self, network: StrokeNetwork, weights: Mapping[str, float], flat_push: float, device: torch.device
    ) -> None:
        self.network, self.weights, self.device = network, weights, device
        self.adam = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0)
        self.losses = StrokeLosses(perceptual_trunk(device), flat_push)

    @torch.enable_grad()
    def step(self, rows: PaintedRows, learning_rate: float, chance: torch.Generator | None = None) -> dict[str, float]:
        """One step on a batch; the losses before it, by name. What is random comes from ``chance``, or torch's own."""
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        down, right = torch.randint(CELL, (2,), generator=chance).tolist()
        found = self.losses_of(self.network, rows, ((0, 0), (down, right)))
        self.adam.zero_grad(set_to_none=True)
        self.total(found).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.adam.step()
        return {name: value.item() for name, value in found.items()}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of losses by name."""
        return torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()

    def losses_of(self, network: StrokeNetwork, rows: PaintedRows, shifts: Shifts) -> dict[str, Tensor]:
        """The losses, by name, of what a network of the same layers paints in passes with these ``shifts``."""
        contents, given, vectors = (each.to(self.device) for each in rows[:3])
        with torch.autocast(self.device.type, torch.bfloat16):
            made = with_strokes(network, given, vectors, TRAINED_SHARE, shifts)
        return self.losses(made.float(), given, contents, rows.styles)
