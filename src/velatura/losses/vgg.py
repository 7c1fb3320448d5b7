"""Feature distance to the content (the poster's L_content2)."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import Targets, View

CONTENT_LAYER = "relu4_2"


class FeatureMSE:
    """Squared difference of one deep VGG16 layer, as a share of the content's own energy there."""

    name = "vgg"
    layers: tuple[str, ...] = (CONTENT_LAYER,)

    def __init__(self, targets: Targets) -> None:
        self.content = targets.content.features[CONTENT_LAYER]
        self.energy = self.content.square().mean().clamp(min=1e-8)

    def __call__(self, view: View) -> Tensor:
        return (view.features[CONTENT_LAYER] - self.content).square().mean() / self.energy
