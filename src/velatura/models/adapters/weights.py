"""The weights of what joins a model: whether they are numbers, and a hash that tells them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor

from velatura.errors import ModelError

OTHER_FAMILY = (
    "was made for another family of models: there are ones for Stable Diffusion 1.x and ones for SDXL, each for that "
    "alone, and none for house"
)


def check_finite(weights: Mapping[str, Tensor], what: str) -> None:
    """Raise ModelError, naming ``what`` they are of, for weights that are not all finite."""
    for name, value in weights.items():
        if not value.is_meta and not bool(value.isfinite().all()):
            raise ModelError(f"{what} holds numbers that are not finite ({name}): get it again.")


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """16 hex digits of the SHA-256 of the names, shapes and all values of weights, as float32."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
