"""VGG16 feature distance to the content (the poster's L_content2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.losses.base import LossInput, Targets

CONTENT_LAYER = "relu4_2"
SHALLOW_LAYERS = ("relu1_1", "relu2_1")


def feature_distance(x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> Tensor:
    """The sum over the layers of ``y`` of the mean squared difference of features (B, C, H, W) (ZeCon's VGG loss)."""
    return torch.stack([(x[layer] - value).square().mean() for layer, value in y.items()]).sum()


class FeatureMSE:
    """Mean squared difference of relu4_2, divided by the content's mean square there."""

    name = "vgg"
    layers: tuple[str, ...] = (CONTENT_LAYER,)
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        target = content.features[CONTENT_LAYER]
        return (result.features[CONTENT_LAYER] - target).square().mean() / target.square().mean().clamp(min=1e-8)


class ShallowFeatureMSE:
    """Mean squared difference of relu1_1 plus that of relu2_1, each divided by the content's mean square there."""

    name = "vgg_shallow"
    layers: tuple[str, ...] = SHALLOW_LAYERS
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        energies = {name: content.features[name].square().mean().clamp(min=1e-8).sqrt() for name in self.layers}
        x, y = ({name: each.features[name] / energy for name, energy in energies.items()} for each in (result, content))
        return feature_distance(x, y)
