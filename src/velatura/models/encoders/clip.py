"""CLIP's image encoder (Radford et al. 2021), for losses and for words made from pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.models.loading.catalogue import short_names
from velatura.models.loading.hub import pretrained

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
BESIDE = "connect once, or put CLIP's files into a folder named 'clip' next to the model's own folder, not in it"


def clip_image_encoder(model: str, device: torch.device, default: str = "clip-l") -> ClipImageEncoder:
    """The CLIP in a folder ``clip`` beside a local ``model``, else the ``default`` one of the catalogue.

    "clip-l" is Stable Diffusion 1.x's ViT-L/14; it comes from the hub's cache or the hub. Raises ModelError where it
    cannot be had.
    """
    beside = Path(model).parent / "clip"
    place = str(beside) if beside.is_dir() else short_names()[default].place
    return ClipImageEncoder(place, device)


def middle_square(image: Image.Image, side: int) -> Tensor:
    """An RGB image as CLIP prepares it: scaled by Pillow (bicubic), its middle, (1, 3, side, side) in [-1, 1]."""
    scale = side / min(image.size)
    scaled = image.resize(
        (max(side, int(image.width * scale)), max(side, int(image.height * scale))), Image.Resampling.BICUBIC
    )
    left, top = (scaled.width - side) // 2, (scaled.height - side) // 2
    square = np.asarray(scaled.crop((left, top, left + side, top + side)), dtype=np.float32)
    return torch.from_numpy(square / 127.5 - 1).permute(2, 0, 1)[None]


def prepared(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] standardised as CLIP's vision towers were trained with."""
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((pixels + 1) / 2 - mean) / std


class ClipImageEncoder:
    """A frozen CLIP vision tower with its projection, in float32; ``source`` is the folder or repository it is from."""

    def __init__(self, place: str, device: torch.device) -> None:
        self.source = place
        from transformers import CLIPVisionModelWithProjection

        self.network: Any = pretrained(CLIPVisionModelWithProjection.from_pretrained, place, BESIDE)
        self.network.to(device).requires_grad_(False).eval()
        self.device = device

    def projected(self, pixels: Tensor) -> Tensor:
        """The projected embeddings (B, E), not normalised, of pixels (B, 3, s, s) of the tower's own side s."""
        embeddings: Tensor = self.network(prepared(pixels)).image_embeds
        return embeddings

    def encode_pil(self, image: Image.Image) -> Tensor:
        """The normalised embedding (1, E) of an RGB image, scaled by Pillow (bicubic) and cut to the middle square."""
        pixels = middle_square(image, self.network.config.image_size).to(self.device)
        return F.normalize(self.projected(pixels), dim=-1)

    def encode_prompt(self, prompts: Sequence[str]) -> Tensor:
        """The projected embeddings (B, E) of texts, not normalised, by the text tower of the same CLIP."""
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        tower = pretrained(CLIPTextModelWithProjection.from_pretrained, self.source, BESIDE).to(self.device).eval()
        tokenizer = pretrained(CLIPTokenizer.from_pretrained, self.source, BESIDE)
        tokens = tokenizer(list(prompts), padding=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            embeddings: Tensor = tower(**tokens).text_embeds.float()
        return embeddings

    def __call__(self, pixels: Tensor) -> Tensor:
        """L2-normalised embeddings (B, E) of pixels (B, 3, H, W) in [-1, 1], scaled to a square; differentiable."""
        side = self.network.config.image_size
        square = F.interpolate(pixels.to(self.device).float(), (side, side), mode="bicubic", antialias=True)
        return F.normalize(self.projected(square.clamp(-1, 1)), dim=-1)
