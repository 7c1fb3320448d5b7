"""A stroke network that was tuned to one style: how the style keeps it, and the network of a style."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.errors import StyleError
from velatura.models.house.stroke_network import StrokeNetwork
from velatura.style import Style
from velatura.style.mixing import parts_of

PREFIX = "strokes."  # of its weights' names among a style's tensors


def kept_weights(network: StrokeNetwork) -> dict[str, Tensor]:
    """A network's weights as tensors of a style, in fp16."""
    return {PREFIX + name: value.detach().half().cpu() for name, value in network.state_dict().items()}


def is_tuned(style: Style) -> bool:
    """Whether a style, or a part of a mix, brings a network of its own."""
    return any(name.startswith(PREFIX) for part, _ in parts_of(style) for name in part.tensors)


@torch.no_grad()
def network_of(style: Style, own: StrokeNetwork) -> StrokeNetwork:
    """The network that paints a style's strokes: the model's ``own``, or the one that was tuned to the style. A mix has
    the weighted mean of its parts' weights: they all began as the model's.

    Raises StyleError for a network of other layers.
    """
    if not is_tuned(style):
        return own
    base = own.state_dict()
    mixed = {name: torch.zeros_like(value) for name, value in base.items()}
    for part, share in parts_of(style):
        weights = _weights_of(part) or base
        if {name: value.shape for name, value in weights.items()} != {n: value.shape for n, value in base.items()}:
            raise StyleError(
                f"The style '{part.name}' was tuned on a stroke network of other layers than the model's: fit it again."
            )
        for name, value in weights.items():
            mixed[name] += share * value.to(mixed[name])
    network = copy.deepcopy(own)
    network.load_state_dict(mixed)
    return network


def _weights_of(style: Style) -> Mapping[str, Tensor]:
    return {name.removeprefix(PREFIX): value for name, value in style.tensors.items() if name.startswith(PREFIX)}
