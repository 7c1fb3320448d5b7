"""Latents of whole pictures at two scales and of their mirror images, made once, from which crops are cut."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.models.features.efficientnet_lite import efficientnet_lite0
from velatura.models.house.image_encoder import picture_numbers
from velatura.progress import Progress
from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors
from velatura.training.batches import decoded
from velatura.training.made_pictures import without_style
from velatura.training.shards import Example

FACTOR = 8  # pixels a latent
PHOTO_SIDE = 256  # px of the photo in whose style a painting is destylised
Encode = Callable[[Tensor], Tensor]


class Scales(NamedTuple):
    """Latents (2, C, h, w), half precision, of a picture and its mirror image: at its own scale, and halved."""

    full: Tensor
    half: Tensor


class KeptLatents(NamedTuple):
    """By the numbers of the examples: each one's latents; for paintings, those of the same picture with little of its
    strokes, and the raw image embeddings (1380,) of a crop.
    """

    own: Mapping[int, Scales]
    destylised: Mapping[int, Scales]
    crop_embeddings: Mapping[int, Tensor]


def kept_latents(
    path: Path, examples: Sequence[Example], encode: Encode, source: str, seed: int, progress: Progress
) -> KeptLatents:
    """The latents of ``examples``, read from the file ``path`` where it is of the same ``source``, or made and written.

    ``source`` names pictures and autoencoder; ``encode`` maps pixels (B, 3, H, W) in [-1, 1] to scaled latents.
    """
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("source") == source:
            return _from_tensors(tensors)
    except (OSError, DamagedFileError):
        pass  # none yet, or none of use: made again
    kept = _made(examples, encode, random.Random(seed), progress)
    write_tensors(path, _to_tensors(kept), {"source": source})
    return kept


@torch.no_grad()
def _made(examples: Sequence[Example], encode: Encode, chance: random.Random, progress: Progress) -> KeptLatents:
    photos = [one for one in examples if one.description.kind == "photo"]
    network = efficientnet_lite0(torch.device("cpu"))
    own, destylised, embeddings = dict[int, Scales](), dict[int, Scales](), dict[int, Tensor]()
    for number, one in enumerate(progress.track(examples, "latents")):
        pixels = _even(decoded(one))
        own[number] = _scales(pixels, encode)
        if one.description.kind != "painting" or not photos:
            continue
        photo = F.interpolate(_even(decoded(chance.choice(photos))), (PHOTO_SIDE, PHOTO_SIDE), mode="area")
        destylised[number] = _scales(without_style(pixels, photo, chance), encode)
        side = round(min(pixels.shape[2:]) * chance.uniform(0.5, 0.8))
        top, left = (chance.randint(0, length - side) for length in pixels.shape[2:])
        embeddings[number] = picture_numbers(pixels[..., top : top + side, left : left + side], network)[0]
    return KeptLatents(own, destylised, embeddings)


def _even(picture: Tensor) -> Tensor:
    """Pixels (1, 3, H, W) in [-1, 1] of bytes, cut so that both scales are whole latents."""
    height, width = (length // (2 * FACTOR) * 2 * FACTOR for length in picture.shape[1:])
    return picture[None, :, :height, :width].float() / 127.5 - 1


def _scales(pixels: Tensor, encode: Encode) -> Scales:
    both = (pixels, F.avg_pool2d(pixels, 2))
    return Scales(*(encode(torch.cat([each, each.flip(3)])).half().cpu() for each in both))


def _to_tensors(kept: KeptLatents) -> dict[str, Tensor]:
    tensors = {f"crop_embeddings.{number}": value for number, value in kept.crop_embeddings.items()}
    for group in ("own", "destylised"):
        for number, scales in getattr(kept, group).items():
            tensors |= {f"{group}.{number}.{name}": value for name, value in scales._asdict().items()}
    return tensors


def _from_tensors(tensors: Mapping[str, Tensor]) -> KeptLatents:
    def group(name: str) -> dict[int, Scales]:
        numbers = sorted({int(key.split(".")[1]) for key in tensors if key.startswith(f"{name}.")})
        return {n: Scales(tensors[f"{name}.{n}.full"], tensors[f"{name}.{n}.half"]) for n in numbers}

    prefix = "crop_embeddings."
    embeddings = {int(key[len(prefix) :]): value for key, value in tensors.items() if key.startswith(prefix)}
    return KeptLatents(group("own"), group("destylised"), embeddings)
