"""One step of the stroke network's training, and all that it changes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.features.magenta import CELL
from velatura.models.features.vgg import perceptual_trunk
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import (
    HALF_A_CELL_APART,
    Shifts,
    StrokeNetwork,
    untrained_stroke_network,
    with_strokes,
)
from velatura.training.running_average import update_average
from velatura.training.strokes.losses import StrokeLosses
from velatura.training.strokes.pool import PaintedRows
from velatura.training.strokes.recipe import StrokesRecipe
from velatura.training.training_log import means_of

TRAINED_SHARE = 0.65  # of a picture that is the network's, the rest being what it was given


class StrokesOptimisation:
    """The optimisation of a stroke network on the model's device, with a running average of its weights.

    Each picture is the mean of two passes, a random part of a cell apart: textures that follow the network's cells
    rather than the picture's forms gain nothing. It starts from the model's own network where there is one, else from
    Magenta's.
    """

    def __init__(self, backbone: HouseBackbone, recipe: StrokesRecipe) -> None:
        self.recipe, self.device = recipe, backbone.device
        own = backbone.stroke_network or untrained_stroke_network(backbone.pipeline.image_encoder)
        self.network = copy.deepcopy(own).to(self.device).requires_grad_(True)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), betas=(0.9, 0.99), weight_decay=0)
        self.losses = StrokeLosses(perceptual_trunk(self.device), recipe.flat_push)
        self.steps = 0
        self.found: list[Mapping[str, float]] = []

    def restore(self, state: dict[str, Any]) -> int:
        """Take up a checkpoint; returns the steps that are done. Raises ModelError for one of other layers."""
        try:
            self.network.load_state_dict(state["strokes"])
            self.average.load_state_dict(state["average"])
        except RuntimeError:
            raise ModelError("The checkpoint is of a stroke network with other layers: give another --out.") from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = int(state["step"])
        return self.steps

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        networks = {"strokes": self.network.state_dict(), "average": self.average.state_dict()}
        return {**networks, "optimizer": self.optimizer.state_dict(), "step": self.steps}

    def step(self, rows: PaintedRows, learning_rate: float) -> None:
        """One optimiser step on a batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        down, right = torch.randint(CELL, (2,)).tolist()
        found = self._losses(self.network, rows, ((0, 0), (down, right)))
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.stack([self.recipe.weights[name] * value for name, value in found.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        update_average(self.average.parameters(), self.network.parameters(), self.steps, self.recipe.average_decay)
        self.found.append({name: value.item() for name, value in found.items()})

    @torch.no_grad()
    def check(self, batches: list[PaintedRows]) -> dict[str, float]:
        """The averaged network's losses, the mean over batches of one size."""
        losses = [self._losses(self.average, rows, HALF_A_CELL_APART) for rows in batches]
        found = [{name: value.item() for name, value in each.items()} for each in losses]
        return {f"held_out_{name}": value for name, value in means_of(found).items()}

    def _losses(self, network: StrokeNetwork, rows: PaintedRows, shifts: Shifts) -> dict[str, Tensor]:
        contents, given, vectors = (each.to(self.device) for each in rows[:3])
        with torch.autocast(self.device.type, torch.bfloat16):
            made = with_strokes(network, given, vectors, TRAINED_SHARE, shifts)
        return self.losses(made.float(), given, contents, rows.styles)

    def take(self) -> dict[str, float]:
        """The means of what was found since the last call."""
        found, self.found = self.found, []
        return means_of(found)
