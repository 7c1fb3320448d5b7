"""CLIP similarity of two pictures, with OpenAI's ViT-L/14."""

from __future__ import annotations

from functools import lru_cache

import torch

from velatura.evaluation.pixels import PictureLike, paired_pixels
from velatura.models.encoders.clip import ClipImageEncoder
from velatura.models.loading.catalogue import short_names
from velatura.picture import pixels_to_image


@torch.no_grad()
def clip_similarity(results: PictureLike, styles: PictureLike, place: str | None = None) -> float:
    """Cosine of CLIP's image embeddings (Radford et al. 2021): pictures (B, 3, H, W) in [-1, 1]; -1 to 1, higher is
    closer.

    The mean over the batch; pictures are scaled and cut to their middle square as CLIP's own preparation does.
    ``place`` is a folder or repository of transformers (None: openai/clip-vit-large-patch14). Raises ModelError where
    the weights cannot be had.
    """
    results, styles = paired_pixels(results, styles)
    encoder = _encoder(place or short_names()["clip-l"].place, results.device)
    pairs = zip(results.chunk(len(results)), styles.chunk(len(styles)), strict=True)
    cosines = [
        encoder.encode_pil(pixels_to_image(result)) @ encoder.encode_pil(pixels_to_image(style)).T
        for result, style in pairs
    ]
    return torch.cat(cosines).mean().item()


@lru_cache(maxsize=1)
def _encoder(place: str, device: torch.device) -> ClipImageEncoder:
    return ClipImageEncoder(place, device)
