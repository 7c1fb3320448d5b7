"""Structure distance of DINO's keys (Splice), with ViT-B/8."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.evaluation.pixels import PictureLike, paired_pixels
from velatura.models.features.vgg import IMAGENET
from velatura.models.loading.hub import pretrained

DINO = "facebook/dino-vitb8"
SIDE = 224  # pixels: what the published figures are measured at


@torch.no_grad()
def dino_structure_distance(results: PictureLike, contents: PictureLike, place: str = DINO) -> float:
    """DINO structure distance (Tumanyan et al. 2022, Splice): pictures (B, 3, H, W) in [-1, 1]; lower is closer.

    The mean squared difference of the cosine similarities between all tokens' keys in the last layer, over the batch.
    ``place`` is a folder or repository of transformers. Raises ModelError where the weights cannot be had.
    """
    results, contents = paired_pixels(results, contents)
    network = _network(place).to(results.device)
    found, wanted = (key_similarities(network, pixels) for pixels in (results, contents))
    return F.mse_loss(found, wanted).item()


def key_similarities(network: Any, pixels: Tensor) -> Tensor:
    """Cosines (B, n, n) between the keys of a ViT's n tokens in its last layer, of pixels in [-1, 1]."""
    keys: list[Tensor] = []
    layers = [module for name, module in network.named_modules() if name.endswith(("attention.key", "k_proj"))]
    hook = layers[-1].register_forward_hook(lambda module, arguments, output: keys.append(output))
    try:
        square = F.interpolate(pixels.float().clamp(-1, 1), (SIDE, SIDE), mode="bicubic", antialias=True)
        network(IMAGENET(square.clamp(-1, 1)), interpolate_pos_encoding=True)
    finally:
        hook.remove()
    unit = F.normalize(keys[0], dim=-1)
    return unit @ unit.transpose(1, 2)


@lru_cache(maxsize=1)
def _network(place: str) -> Any:
    from transformers import ViTModel

    return pretrained(ViTModel.from_pretrained, place, f"connect once, or name a folder that holds {DINO}").eval()
