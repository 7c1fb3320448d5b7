"""From folders of pictures to shards that hold all that a training machine needs."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from velatura.errors import PictureError, SettingError
from velatura.models.features.efficientnet_lite import efficientnet_lite0, imagenet_classifier
from velatura.models.features.magenta import STYLE_NUMBERS, paint_over
from velatura.models.house.image_encoder import picture_numbers
from velatura.picture import open_picture
from velatura.progress import Progress
from velatura.training.captions import Description, describe_painting, describe_photo, imagenet_names
from velatura.training.shards import Example, write_shards

SHORT_SIDE = 272
LONG_SIDE = 400
SUFFIXES = {".webp", ".jpg", ".jpeg", ".png"}
QUALITY = 82  # of WebP
SURE = 0.5  # probability from which the classifier names a photo whose file name does not


@dataclass(frozen=True)
class Sources:
    """Folders of photos and paintings to train on, and of pictures ``heldout`` for the check."""

    photos: Sequence[Path] = ()
    paintings: Sequence[Path] = ()
    heldout: Sequence[Path] = ()


def pictures_in(folders: Sequence[Path]) -> list[Path]:
    """Every picture below ``folders``, in sorted order. Raises PictureError for no folder, and for no pictures."""
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise PictureError(f"{missing[0]} is no folder: name one with .webp, .jpg or .png files.")
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise PictureError(f"No pictures in {', '.join(map(str, folders))}: give folders of .webp, .jpg or .png files.")
    return found


def _reduced(path: Path) -> Image.Image:
    """The picture with its short side at most 272, and cropped around the centre to at most 400 by 400."""
    image = open_picture(path).image
    scale = SHORT_SIDE / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = max(0, image.width - LONG_SIDE) // 2, max(0, image.height - LONG_SIDE) // 2
    return image.crop((left, top, left + min(image.width, LONG_SIDE), top + min(image.height, LONG_SIDE)))


def _pixels(image: Image.Image) -> Tensor:
    """Pixels (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def _named(description: Description, embedding: Tensor, classifier: nn.Linear, names: list[str]) -> Description:
    """The description of a photo without a subject, named by the classifier where it is sure."""
    if description.kind != "photo" or description.subject:
        return description
    probability, best = classifier(embedding[None, STYLE_NUMBERS:]).softmax(-1)[0].max(0)
    return replace(description, subject=names[int(best)]) if probability > SURE else description


def shuffled(examples: Sequence[Example], chance: random.Random) -> list[Example]:
    """The examples in random order; the numbers of the photos beneath others are brought up to date."""
    order = list(range(len(examples)))
    chance.shuffle(order)
    place = {number: at for at, number in enumerate(order)}
    moved = (examples[number] for number in order)
    return [replace(one, beneath=None if one.beneath is None else place[one.beneath]) for one in moved]


def check_pictures(paths: Sequence[Path], progress: Progress) -> None:
    """Open all, so that a file that is no picture is told before hours of work. Raises PictureError for one."""
    for path in progress.track(paths, "opening"):
        open_picture(path)


@torch.no_grad()
def pack(
    pictures: Sources, out: Path, painted_share: float, seed: int, progress: Progress, quality: int = QUALITY
) -> list[Path]:
    """Write train and held-out shards of photos, paintings and painted-over photos; returns the paths.

    ``painted_share`` of the photos are also painted over by Magenta's network in the style of a random painting, whose
    embedding they keep, so that "*" tells how they are painted and not what they show. Raises PictureError for folders
    without pictures and, before anything is made, for files that are none; SettingError where ``out`` holds shards.
    """
    there = sorted(path.name for path in out.glob("*.safetensors"))
    if there:
        raise SettingError(f"There are shards in {out} already ({there[0]}): delete them, or give another --out.")
    held_out = pictures_in(pictures.heldout) if pictures.heldout else []
    photos, paintings = pictures_in(pictures.photos), pictures_in(pictures.paintings)
    check_pictures([*held_out, *photos, *paintings], progress)
    out.mkdir(parents=True, exist_ok=True)
    cpu = torch.device("cpu")
    network, classifier = efficientnet_lite0(cpu), imagenet_classifier(cpu)
    names, chance = imagenet_names(), random.Random(seed)
    sources = [(path, describe_photo(path)) for path in photos]
    sources += [(path, describe_painting(path)) for path in paintings]
    examples: list[Example] = []
    for path, description in progress.track(sources, "pictures"):
        image = _reduced(path)
        numbers = picture_numbers(_pixels(image), network)[0]
        examples.append(Example(_webp(image, quality), _named(description, numbers, classifier, names), numbers))
    painting_examples = [example for example in examples if example.description.kind == "painting"]
    photos_at = [number for number, example in enumerate(examples) if example.description.kind == "photo"]
    chosen = chance.sample(photos_at, round(painted_share * len(photos_at)))
    for number in progress.track(chosen, "painted photos"):
        photo, style = examples[number], chance.choice(painting_examples).embedding
        painted = paint_over(_pixels(Image.fromarray(photo.pixels())), style[None, :STYLE_NUMBERS])
        image = Image.fromarray(((painted[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())
        examples.append(Example(_webp(image, quality), replace(photo.description, kind="painted"), style, number))
    kept = [
        Example(_webp(image, quality), Description("photo"), picture_numbers(_pixels(image), network)[0])
        for image in map(_reduced, held_out)
    ]
    written = write_shards(kept, out, "heldout") if kept else []
    return [*write_shards(shuffled(examples, chance), out, "train"), *written]
