"""Making pairs: random crops of photos in the styles of random paintings, painted by a teacher for a given time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from velatura.models.house.backbone import HouseBackbone
from velatura.picture.palette import palette_of, transport_palette
from velatura.training.fast.pairs import Pair, write_pairs
from velatura.training.fast.pictures import Pictures
from velatura.training.fast.teachers import Teacher
from velatura.training.timed import Clock
from velatura.training.training_log import process_seed

SIDE = 256  # px of the photos' crops
A_FILE = 16  # pairs


def make_pairs(
    backbone: HouseBackbone,
    pictures: tuple[Sequence[Path], Sequence[Path]],
    out: Path,
    teacher: Teacher,
    minutes: float,
    seed: int,
) -> int:
    """Write files of pairs of (photos, paintings) to ``out`` for so many minutes, at least one; returns how many pairs.

    With the same ``out``, others are added: how many files it holds decides, beside the ``seed``, what is drawn.
    """
    chance = random.Random(process_seed(seed, 0, len(list(out.glob("*.safetensors")))))
    photos, paintings = (Pictures(paths, chance) for paths in pictures)
    clock, made, pairs = Clock(minutes), 0, list[Pair]()
    while not clock.over:
        pairs.append(_pair(photos, paintings, backbone, teacher, chance))
        made += 1
        clock.tick()
        if len(pairs) == A_FILE:
            write_pairs(out, pairs, backbone)
            pairs = []
    if pairs:
        write_pairs(out, pairs, backbone)
    return made


def _pair(
    photos: Pictures, paintings: Pictures, backbone: HouseBackbone, teacher: Teacher, chance: random.Random
) -> Pair:
    photo, painting = photos.crop(photos.draw(), SIDE), paintings.whole(paintings.draw())
    target = teacher(photo, painting, backbone, chance.randrange(2**20))
    with torch.no_grad():
        content = backbone.encode(transport_palette(photo, palette_of(painting), 1.0))
    return Pair(content[0].cpu(), target[0].cpu(), backbone.style_vector(painting)[0].cpu())
