"""Features of the HED-trained VGG16 trunk for metrics, computed once for a picture that several metrics look at."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from velatura.losses.gram import STYLE_LAYERS
from velatura.models.features.lpips_heads import LPIPS_LAYERS
from velatura.models.features.vgg import hed_trunk

DEEP_LAYERS = ("relu3_1", "relu4_1", "relu5_1")
_LAYERS = tuple(dict.fromkeys((*STYLE_LAYERS, *DEEP_LAYERS, *LPIPS_LAYERS)))
# They go when the picture's tensor goes.
_known: MutableMapping[Tensor, tuple[int, Mapping[str, Tensor]]] = WeakIdKeyDictionary()


@torch.no_grad()
def trunk_features(pixels: Tensor) -> Mapping[str, Tensor]:
    """Activations of pictures (B, 3, H, W) in [-1, 1] by layer, on the CPU, in float32; kept as long as ``pixels`` is.

    Of the layers that Gram matrices, deep features and LPIPS's heads need.
    """
    kept = _known.get(pixels)
    if kept is None or kept[0] != pixels._version:
        kept = _known[pixels] = (pixels._version, hed_trunk().features(pixels.float().cpu(), _LAYERS))
    return kept[1]
