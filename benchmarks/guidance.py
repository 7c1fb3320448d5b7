"""Guidance with and without ``guidance_scaling``: the 8-px lattice in flat areas, and what its absence costs.

python benchmarks/guidance.py ../shared/data/pairs/content ../shared/data/pairs/style --out runs/guidance
writes results.jsonl, a table of means and a sheet. Six contents with a sky or a wall are inverted with DDIM to
strength 0.6 and denoised in 20 steps under a painting's word alone; nothing else differs between the rows.
--scales 3 5 8 and --scalings "plain" "limit=0.25" … choose the rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from velatura import Studio
from velatura.diffusion.guidance import classifier_free, conditional
from velatura.diffusion.guidance_scaling import PLAIN, GuidanceScaling
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.evaluation import (
    colour_distance,
    edge_f1,
    feature_distance,
    gram_distance,
    lattice_level,
    magenta_similarity,
)
from velatura.evaluation.benchmark.tables import markdown_table
from velatura.models.features.magenta import STYLE_NUMBERS
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import image_to_pixels, open_picture, plan_size
from velatura.training.check import grid

PAIRS = (("04", "18"), ("06", "07"), ("05", "03"), ("00", "17"), ("08", "10"), ("04", "16"))  # content, style
SIDE, STEPS, STRENGTH = 256, 20, 0.6
DC = (0, 4, 6)
COLUMNS = ("lattice ↓", "lattice, worst ↓", "edge F1 ↑", "Gram ↓", "deep ↓", "colour ↓", "Magenta cosine ↑")


def per_channel(ac: float) -> str:
    """Weights of house's eight channels: 1 for the DC channels of its block DCT, ``ac`` for the others."""
    return ":".join("1" if channel in DC else f"{ac:g}" for channel in range(8))


SCALINGS = (
    PLAIN,
    "parallel=0",
    "limit=0.25",
    "interval=0.2:1",
    "interval=0:0.4",
    f"local_mean={per_channel(0)}",
    *(f"channels={per_channel(ac)}" for ac in (0.4, 0.2, 0.0)),
    f"channels={per_channel(0.4)},local_mean={per_channel(0)}",
    f"channels={per_channel(0.2)},local_mean={per_channel(0)}",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/guidance"))
    parser.add_argument("--scales", type=float, nargs="*", default=[3.0, 5.0, 8.0])
    parser.add_argument("--scalings", nargs="*", default=list(SCALINGS))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    backbone = Studio("house").backbone
    assert isinstance(backbone, HouseBackbone)
    compare(backbone, asked)


@torch.no_grad()
def compare(backbone: HouseBackbone, asked: argparse.Namespace) -> None:
    """Each scaling at each scale: a line of results.jsonl, then the table and the sheet."""
    contents = torch.cat([middle(asked.contents / f"{name}.webp") for name, _ in PAIRS])
    styles = torch.cat([middle(asked.styles / f"{name}.webp") for _, name in PAIRS])
    words = torch.cat([backbone.style_word(style[None]) for style in styles])
    conditioning = backbone.encode_prompt(["a painting in the style of *"] * len(styles), words)
    unconditional = backbone.unconditional()
    levels = backbone.schedule.ddim_levels(STEPS).up_to(round(STEPS * STRENGTH))
    start = invert(conditional(backbone, unconditional), backbone.encode(contents), levels).noisiest
    mean = backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    shown, rows = [contents, styles], {}
    for scale in asked.scales:
        for text in asked.scalings:
            predict = classifier_free(backbone, conditioning, unconditional, scale, GuidanceScaling.parse(text))
            results = backbone.decode(ddim_denoise(predict, start, levels)).clamp(-1, 1)
            shown.append(results)
            rows[f"{scale:g}, {text}"] = measured(results, contents, styles, mean)
            with (asked.out / "results.jsonl").open("a") as file:
                file.write(json.dumps({"scale": scale, "scaling": text, "values": rows[f"{scale:g}, {text}"]}) + "\n")
            grid(torch.stack(shown, 1).flatten(0, 1), len(shown)).save(asked.out / "sheet.png")
    printed = markdown_table(COLUMNS, rows)
    (asked.out / "table.md").write_text(printed + "\n")
    print(printed)


def middle(path: Path) -> Tensor:
    """The centre square of a picture, 256 px."""
    picture = open_picture(path)
    pixels = image_to_pixels(picture.image, plan_size(picture.size, SIDE, 8).working)
    top, left = (pixels.shape[2] - SIDE) // 2, (pixels.shape[3] - SIDE) // 2
    return pixels[:, :, top : top + SIDE, left : left + SIDE]


def measured(results: Tensor, contents: Tensor, styles: Tensor, mean: Tensor) -> list[float]:
    """The ``COLUMNS``: means over the pairs, and the lattice of the worst."""
    triples = list(zip(*(torch.split(pixels, 1) for pixels in (results, contents, styles)), strict=True))
    lattices = [lattice_level(result, content) for result, content, _ in triples]
    columns = [
        lattices,
        [max(lattices)],
        [edge_f1(result, content) for result, content, _ in triples],
        [gram_distance(result, style) for result, _, style in triples],
        [feature_distance(result, style) for result, _, style in triples],
        [colour_distance(result, style) for result, _, style in triples],
        [magenta_similarity(result, style, mean) for result, _, style in triples],
    ]
    return [sum(values) / len(values) for values in columns]


if __name__ == "__main__":
    main()
