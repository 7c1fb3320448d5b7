"""Benchmarks by name: which pictures, how many pairs, at which size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from velatura.errors import SettingError
from velatura.evaluation.painted_styles import PAINTED_STYLES
from velatura.picture import Picture
from velatura.picture.sample_photos import sample_photos

PUBLIC_SIDE = 384


@dataclass(frozen=True)
class BenchmarkPreset:
    """A protocol. Without ``contents`` and ``styles`` the two folders are given; ``counts`` is how many pictures they
    hold, where that belongs to the protocol; ``pairs`` is None for all.
    """

    methods: str
    outsiders: str
    size: int
    pairs: int | None = None
    folders: tuple[Path, Path] | None = None
    counts: tuple[int, int] | None = None


PRESETS: Mapping[str, BenchmarkPreset] = {
    # Chung et al. 2024: 20 of MS-COCO's photos, each in 40 of WikiArt's pictures, at 512 pixels.
    "styleid": BenchmarkPreset(
        "guided,s2prest,inst,diffstyler,styleid",
        "photo,style,palette,magenta,gatys,adain,img2img",
        512,
        counts=(20, 40),
    ),
    "pairs": BenchmarkPreset(
        "guided,s2prest,inst,diffstyler,styleid",
        "photo,style,palette,magenta,adain,img2img",
        256,
        30,
        (Path("../shared/data/pairs/content"), Path("../shared/data/pairs/style")),
    ),
    "public": BenchmarkPreset("guided,s2prest,styleid", "photo,style,palette,magenta,adain,img2img", 192, 4),
}


def benchmark_preset(name: str) -> BenchmarkPreset:
    """A preset by name. Raises SettingError for an unknown one."""
    if name not in PRESETS:
        raise SettingError(f"Unknown preset '{name}': use {', '.join(PRESETS)}.")
    return PRESETS[name]


def public_contents() -> list[Picture]:
    """The middle squares of scikit-image's photos at 384 pixels."""
    found = []
    for photo in sample_photos():
        image = photo.image
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        found.append(Picture.of(square.resize((PUBLIC_SIDE, PUBLIC_SIDE), Image.Resampling.LANCZOS), photo.name))
    return found


def public_styles() -> list[Picture]:
    """The styles that the project paints itself."""
    return [Picture.of(paint(0), name) for name, paint in PAINTED_STYLES.items()]
