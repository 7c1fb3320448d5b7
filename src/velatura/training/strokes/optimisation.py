"""What the stroke network's training changes: its weights, and their running average."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from velatura.errors import ModelError
from velatura.methods.strokes.optimiser import StrokeOptimiser
from velatura.methods.strokes.pictures import PaintedRows
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import HALF_A_CELL_APART, untrained_stroke_network
from velatura.training.running_average import update_average
from velatura.training.strokes.recipe import StrokesRecipe
from velatura.training.training_log import means_of


class StrokesOptimisation:
    """The optimisation of a stroke network on the model's device, with a running average of its weights.

    It starts from the model's own network where there is one, else from Magenta's.
    """

    def __init__(self, backbone: HouseBackbone, recipe: StrokesRecipe) -> None:
        self.recipe, device = recipe, backbone.device
        own = backbone.stroke_network or untrained_stroke_network(backbone.pipeline.image_encoder)
        self.network = copy.deepcopy(own).to(device).requires_grad_(True)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = StrokeOptimiser(self.network, recipe.weights, recipe.flat_push, device)
        self.steps = 0
        self.found: list[Mapping[str, float]] = []

    def restore(self, state: dict[str, Any]) -> int:
        """Take up a checkpoint; returns the steps that are done. Raises ModelError for one of other layers."""
        try:
            self.network.load_state_dict(state["strokes"])
            self.average.load_state_dict(state["average"])
        except RuntimeError:
            raise ModelError("The checkpoint is of a stroke network with other layers: give another --out.") from None
        self.optimiser.adam.load_state_dict(state["optimizer"])
        self.steps = int(state["step"])
        return self.steps

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        networks = {"strokes": self.network.state_dict(), "average": self.average.state_dict()}
        return {**networks, "optimizer": self.optimiser.adam.state_dict(), "step": self.steps}

    def step(self, rows: PaintedRows, learning_rate: float) -> None:
        """One optimiser step on a batch."""
        self.found.append(self.optimiser.step(rows, learning_rate))
        self.steps += 1
        update_average(self.average.parameters(), self.network.parameters(), self.steps, self.recipe.average_decay)

    @torch.no_grad()
    def check(self, batches: list[PaintedRows]) -> dict[str, float]:
        """The averaged network's losses, the mean over batches of one size."""
        losses = [self.optimiser.losses_of(self.average, rows, HALF_A_CELL_APART) for rows in batches]
        found = [{name: value.item() for name, value in each.items()} for each in losses]
        return {f"held_out_{name}": value for name, value in means_of(found).items()}

    def take(self) -> dict[str, float]:
        """The means of what was found since the last call."""
        found, self.found = self.found, []
        return means_of(found)
