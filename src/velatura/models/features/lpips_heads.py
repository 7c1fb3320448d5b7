"""The linear heads of LPIPS, a learned perceptual distance (Zhang et al. 2018), for VGG16."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from velatura.models.features.bundled_weights import load_bundled

# The five layers that the heads were trained on.
LPIPS_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


@lru_cache(maxsize=1)
def lpips_heads() -> dict[str, Tensor]:
    """A (1, C, 1, 1) of non-negative channel weights for each of ``LPIPS_LAYERS``: version 0.1, float32, on the CPU.

    They weigh squared differences of activations of unit length. Raises ModelError when the file is missing or damaged.
    """
    stored = load_bundled("lpips_heads")
    return {layer: stored[layer] for layer in LPIPS_LAYERS}
