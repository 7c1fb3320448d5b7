"""The poster's open problem: which style loss leaks the style picture's content, and which is timid with colour.

python benchmarks/guided.py ../shared/data/pairs/content ../shared/data/pairs/style --out runs/guided
runs every content with every of the first six styles under each objective, the rest of the method alike (no palette
transport, no word, so that the losses alone do it), and writes table.md, plot.png and sheet.jpg. With --assisted the
palette and the word help, as they do by default.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from velatura import Studio
from velatura.app.files import content_files
from velatura.app.terminal import TerminalProgress
from velatura.evaluation import (
    colour_distance,
    content_leak,
    edge_f1,
    gram_distance,
    lpips_hedvgg,
    magenta_similarity,
    outline_leak,
)
from velatura.evaluation.benchmark.plan import OpenPair, Pair, opened_samples
from velatura.evaluation.benchmark.tables import markdown_table
from velatura.models.features.magenta import STYLE_NUMBERS
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import image_to_pixels
from velatura.training.check import grid

KEPT: Mapping[str, float] = {"mse": 0.3, "vgg": 0.5, "range": 1.0}
OBJECTIVES: Mapping[str, Mapping[str, float]] = {
    "content only": {},
    "CLIP-like, global": {"clip": 3.0},
    "CLIP-like, directional": {"clip_dir": 3.0},
    "CLIP-like, patches": {"clip_dir_patch": 3.0},
    "Gram": {"gram": 6.0},
    "sliced Wasserstein": {"texture": 3.0, "palette": 6.0},
    "Gram + sliced palette": {"gram": 6.0, "palette": 6.0},
    "poster's sum: CLIP + Gram": {"clip": 3.0, "gram": 6.0},
    "Gram + colour": {"gram": 6.0, "colour": 4.0},
}
MEASURES = (
    "edge F1 ↑",
    "lpips-hedvgg ↓",
    "Gram ↓",
    "Magenta cosine ↑",
    "colour ↓",
    "content leak ↓",
    "outline leak ↓",
)
TILE = (160, 160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/guided"))
    parser.add_argument("--model", default="house")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--count", type=int, default=10, help="of contents")
    parser.add_argument("--style-count", type=int, default=6)
    parser.add_argument("--assisted", action="store_true", help="with palette and word")
    parser.add_argument("--only", action="append", help="an objective by name; repeatable")
    asked = parser.parse_args()
    contents = content_files([asked.contents])[: asked.count]
    styles = content_files([asked.styles])[: asked.style_count]
    studio = Studio(asked.model, progress=TerminalProgress())
    assert isinstance(studio.backbone, HouseBackbone)
    mean = studio.backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    fitted = [studio.fit(style, method="guided") for style in styles]
    chosen = {name: OBJECTIVES[name] for name in asked.only or OBJECTIVES}
    sums = {name: torch.zeros(len(MEASURES) + 1) for name in chosen}
    tiles = []
    settings: dict[str, object] = {"size": asked.size, "steps": asked.steps}
    if not asked.assisted:
        settings |= {"start": "inversion", "palette": 0.0, "prompt": "", "guidance_scale": 1.0}
    samples = opened_samples(contents, asked.size), opened_samples(styles, asked.size)
    for number, (content, sample) in enumerate(zip(contents, samples[0], strict=True)):
        for index, (style, picture) in enumerate(zip(fitted, samples[1], strict=True)):
            pair = Pair(sample, picture).opened()
            row = [sample.image, picture.image]
            for name, wanted in chosen.items():
                started = time.perf_counter()
                result = studio.stylize(content, style, 0, "guided", **settings, weights={**KEPT, **wanted})
                seconds = time.perf_counter() - started
                pixels = image_to_pixels(result.picture, sample.image.size)
                sums[name] += torch.tensor([*measured(pixels, pair, mean), seconds])
                row.append(result.picture)
            if index == number % len(fitted):
                tiles.append(torch.cat([image_to_pixels(image, TILE) for image in row]))
        print(f"{number + 1} of {len(contents)} contents", flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    grid(torch.cat(tiles), 2 + len(chosen)).save(asked.out / "sheet.jpg", quality=90)
    means = {name: (total / (len(contents) * len(fitted))).tolist() for name, total in sums.items()}
    printed = markdown_table((*MEASURES, "seconds"), means)
    (asked.out / "table.md").write_text(printed + "\n")
    print(printed)
    plot(means, asked.out / "plot.png")


def measured(result: Tensor, pair: OpenPair, mean: Tensor) -> list[float]:
    """The ``MEASURES`` of a result; ``mean`` is the mean style vector."""
    content, style = pair.content, pair.style
    return [
        edge_f1(result, content),
        lpips_hedvgg(result, content),
        gram_distance(result, style),
        magenta_similarity(result, style, mean),
        colour_distance(result, style),
        content_leak(result, content, style),
        outline_leak(result, content, style),
    ]


def plot(means: Mapping[str, list[float]], path: Path) -> None:
    """Leak against colour and against texture, one point an objective."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axis, column in zip(axes, (4, 2), strict=True):
        drawn = [axis.plot(row[column], row[5], "o")[0] for row in means.values()]
        axis.set_xlabel(MEASURES[column])
        axis.set_ylabel(MEASURES[5])
    figure.legend(drawn, list(means), loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
