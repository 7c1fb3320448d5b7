"""What a guided run ends in before it is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from velatura.methods.guided.loss_record import LossRecord
from velatura.methods.guided.objectives import RegionObjective


@dataclass(frozen=True, eq=False)
class GuidedLatents:
    """A run's ``latents`` (1, C, h, w), its ``start`` (1, 3, H, W) in the style's contrast and colours, with latents of
    its own, and the losses.
    """

    start: Tensor
    start_latents: Tensor
    latents: Tensor
    objectives: Sequence[RegionObjective]
    losses: LossRecord

    def described(self) -> dict[str, Any]:
        """What the manifest tells of the losses; features and image encoder are the same for every region."""
        entries: dict[str, Any] = {
            "features": self.objectives[0].objective.trunk.source,
            "image_encoder": next((region.encoder_source for region in self.objectives if region.encoder_source), ""),
            "losses_off": sorted({name for region in self.objectives for name in region.losses_off}),
            "exploded": self.losses.exploded(),
            "loss_curves": self.losses.curves(),
        }
        return {name: entry for name, entry in entries.items() if entry or name in ("features", "image_encoder")}
