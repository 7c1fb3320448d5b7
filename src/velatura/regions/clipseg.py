"""Segmentation by a text with CLIPSeg (Lüddecke & Ecker 2022, Apache-2.0 weights)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from velatura.errors import SettingError
from velatura.models.loading.hub import pretrained
from velatura.regions.masks import Mask

CLIPSEG = "CIDAS/clipseg-rd64-refined"
FOUND = 0.4  # probability from which a pixel belongs to the object


@lru_cache(maxsize=1)
def _clipseg() -> tuple[Any, Any]:
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

    advice = (
        "connect once, or say where with what needs no weights, box:x0,y0,x1,y1, point:x,y;not:x,y, "
        "polygon:x,y;x,y;x,y, or segment:NUMBER (velatura mask PHOTO --everything shows the numbers)"
    )
    model = pretrained(CLIPSegForImageSegmentation.from_pretrained, CLIPSEG, advice).eval()
    return pretrained(CLIPSegProcessor.from_pretrained, CLIPSEG, advice), model


@torch.no_grad()
def text_mask(image: Image.Image, text: str) -> Mask:
    """The objects that ``text`` names, (H, W) in {0, 1}.

    Raises SettingError when there are none, ModelError when the model is not on this machine and cannot be fetched.
    """
    processor, model = _clipseg()
    inputs = processor(text=[text], images=[image.convert("RGB")], return_tensors="pt")
    logits = model(**inputs).logits
    probability = torch.sigmoid(logits).reshape(1, 1, *logits.shape[-2:])
    sized = torch.nn.functional.interpolate(probability, image.size[::-1], mode="bilinear")[0, 0].numpy()
    if sized.max() < FOUND:
        raise SettingError(
            f"Nothing like '{text}' was found: try another word, or look at what there is with "
            "velatura mask PHOTO --everything and say segment:NUMBER."
        )
    return (sized >= FOUND).astype(np.float32)
