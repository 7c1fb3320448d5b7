"""A short hash of a network's weights, to tell base models apart."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def fingerprint(network: Any) -> str:
    """16 hex digits of the SHA-256 of every weight's name, shape and the signs of its first 64 values.

    Signs, because they are the same in every number format.
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(torch.signbit(value.flatten()[:64]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
