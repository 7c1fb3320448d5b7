"""Means of published metrics over the pictures of a benchmark or an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image
from torch import Tensor

from velatura.errors import SettingError
from velatura.evaluation.benchmark.plan import Pair
from velatura.evaluation.benchmark.tables import markdown_table
from velatura.evaluation.published.clip import clip_similarity
from velatura.evaluation.published.perceptual import lpips
from velatura.evaluation.published.self_similarity import dino_structure_distance
from velatura.evaluation.published.structural import cfsd
from velatura.evaluation.published.style_descriptor import csd_similarity
from velatura.picture import image_to_pixels
from velatura.picture.writing import replacing

MARKDOWN = "published.md"


@dataclass(frozen=True)
class PublishedMeasure:
    """A published metric of results (1, 3, H, W) against contents or styles; titles point to the better end."""

    title: str
    is_of_style: bool
    score: Callable[[Tensor, Tensor], float]


PUBLISHED: Mapping[str, PublishedMeasure] = {
    "lpips": PublishedMeasure("LPIPS (VGG) ↓", False, lpips),
    "cfsd": PublishedMeasure("CFSD ↓", False, cfsd),
    "dino": PublishedMeasure("DINO structure ↓", False, dino_structure_distance),
    "clip": PublishedMeasure("CLIP similarity ↑", True, clip_similarity),
    "csd": PublishedMeasure("CSD similarity ↑", True, csd_similarity),
}


def published_measures(names: str) -> list[PublishedMeasure]:
    """The measures of "lpips,cfsd". Raises SettingError for a name that is none."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = next((name for name in asked if name not in PUBLISHED), None)
    if unknown is not None:
        raise SettingError(f"There is no published metric '{unknown}': use {', '.join(PUBLISHED)}.")
    return [PUBLISHED[name] for name in asked]


def published_means(
    measures: Sequence[PublishedMeasure], rows: Sequence[Mapping[str, Any]], pairs: Sequence[Pair], folder: Path
) -> dict[str, list[float]]:
    """Each entry's means of ``measures`` over its rows, whose pictures are in ``folder``, scaled to their contents.

    Raises ModelError where weights are missing.
    """
    by_name = {(pair.content.name, pair.style.name): pair for pair in pairs}
    scores: dict[str, list[list[float]]] = {}
    for row in rows:
        opened = by_name[row["content"], row["style"]].opened()
        height, width = opened.content.shape[2:]
        with Image.open(folder / row["picture"]) as file:
            result = image_to_pixels(file, (width, height))
        taken = [each.score(result, opened.style if each.is_of_style else opened.content) for each in measures]
        scores.setdefault(row["entry"], []).append(taken)
    return {entry: [fmean(column) for column in zip(*taken, strict=True)] for entry, taken in scores.items()}


def write_published(measures: Sequence[PublishedMeasure], means: Mapping[str, Sequence[float]], folder: Path) -> Path:
    """Write the means as a Markdown table; returns the file. Raises PictureError where it cannot be written."""
    with replacing(folder / MARKDOWN) as file:
        file.write_text(markdown_table([each.title for each in measures], means) + "\n", encoding="utf-8")
    return folder / MARKDOWN
