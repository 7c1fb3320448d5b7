"""A short hash of a network's weights, to tell base models apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def fingerprint(network: Any) -> str:
    """16 hex digits of the SHA-256 of every weight's name, shape and the signs of its first 64 values.

    Signs, because they are the same in every number format. Attached LoRA adapters do not count, and weights that
    are offloaded are looked up where they are.
    """
    return fingerprint_of(own_weights(network))


def fingerprint_of(weights: Mapping[str, Tensor]) -> str:
    """``fingerprint`` of weights by name."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(torch.signbit(value.flatten()[:64]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def own_weights(network: Any) -> dict[str, Tensor]:
    """A network's weights by name, without those of attached LoRA adapters; offloaded ones from where they are."""
    weights: Mapping[str, Tensor] = network.state_dict()
    if any(value.is_meta for value in weights.values()):
        from accelerate.utils.modeling import get_state_dict_offloaded_model

        weights = get_state_dict_offloaded_model(network)
    return {name.replace(".base_layer.", "."): value for name, value in weights.items() if ".lora_" not in name}
