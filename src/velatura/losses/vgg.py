"""Feature distance to the content (the poster's L_content2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.losses.base import Targets, View

CONTENT_LAYER = "relu4_2"
SHALLOW_LAYERS = ("relu1_1", "relu2_1")


def feature_distance(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
    """Sum over layers of the mean squared difference (ZeCon's, on relu1_1 and relu2_1)."""
    return torch.stack([(ours[layer] - value).square().mean() for layer, value in theirs.items()]).sum()


class FeatureMSE:
    """Squared difference of one deep VGG16 layer, as a share of the content's own energy there."""

    name = "vgg"
    layers: tuple[str, ...] = (CONTENT_LAYER,)
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        theirs = content.features[CONTENT_LAYER]
        return (view.features[CONTENT_LAYER] - theirs).square().mean() / theirs.square().mean().clamp(min=1e-8)


class ShallowFeatureMSE:
    """Squared difference of relu1_1 and relu2_1, each as a share of the content's own energy there."""

    name = "vgg_shallow"
    layers: tuple[str, ...] = SHALLOW_LAYERS
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        energies = {name: content.features[name].square().mean().clamp(min=1e-8).sqrt() for name in self.layers}
        ours, theirs = (
            {name: seen.features[name] / energy for name, energy in energies.items()} for seen in (view, content)
        )
        return feature_distance(ours, theirs)
