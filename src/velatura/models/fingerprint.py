"""A short name for a network's weights."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def fingerprint(network: Any) -> str:
    """A short hash that tells base models apart: of every weight's name, shape and first signs.

    Signs, because they are the same in every number format.
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(torch.signbit(value.flatten()[:64]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
