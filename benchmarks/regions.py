"""DiffStyler's two examples with two styles each, measured inside the masks, beside Magenta and the photo.

python benchmarks/regions.py ../shared/data/masked --methods diffstyler,guided --out runs/regions
Methods and settings are named as for ``velatura benchmark``, whose tables, sheets and report this writes, with a row
for each mask; regions.md has what matters of a region, row by row. "sharpness" is the region's against its
surroundings, 1 as in the photo. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from velatura import Studio
from velatura.app.benchmarking import Entrants, MethodStylizer
from velatura.app.report.benchmark_files import write_results
from velatura.app.report.benchmark_results import Heading, Results
from velatura.evaluation import region_sharpness
from velatura.evaluation.benchmark.kept import KeptRows, Row
from velatura.evaluation.benchmark.plan import Entry, Pair, Plan, opened_samples
from velatura.evaluation.benchmark.results_folder import measured
from velatura.evaluation.benchmark.tables import markdown_table
from velatura.picture import image_to_pixels, open_picture, pixels_to_image, save_picture

SHOWN = ("edge_f1", "structure", "clipped", "range", "invented")
FACE, DEER, GRASS = "girl1_face.png", "deer1_deer.png", "deer1_grass.png"
# The content, and the styles by the mask where they go.
EXAMPLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "girl-pale": ("girl1.jpg", {FACE: "girl_c1.jpg"}),
    "girl-deers": ("girl1.jpg", {FACE: "deer_c1.jpg"}),
    "deer": ("deer1.jpg", {DEER: "deer_c1.jpg", GRASS: "deer_c2.jpg"}),
    "deer-swapped": ("deer1.jpg", {DEER: "deer_c2.jpg", GRASS: "deer_c1.jpg"}),
}


@dataclass(frozen=True, eq=False)
class Example:
    """A content with styles in masks, as files and as pairs to be measured."""

    name: str
    content: Path
    parts: Mapping[Path, Path]  # styles' files by masks'
    pairs: Sequence[Pair]

    @staticmethod
    def of(folder: Path, name: str, side: int) -> Example:
        """An example by name, with a short side of ``side`` pixels."""
        file, styles = EXAMPLES[name]
        parts = {folder / mask: folder / style for mask, style in styles.items()}
        (content,) = opened_samples([folder / file], side)
        samples = opened_samples(parts.values(), side)
        masks = [mask_of(mask, content.image.size) for mask in parts]
        named = replace(content, name=name)
        return Example(name, folder / file, parts, [Pair(named, *both) for both in zip(samples, masks, strict=True)])


def mask_of(file: Path, size: tuple[int, int]) -> Tensor:
    """A mask's picture as weights (1, 1, H, W) at a size (width, height)."""
    with Image.open(file) as image:
        grey = image.convert("L").resize(size, Image.Resampling.BOX)
    return (image_to_pixels(grey)[:, :1] + 1) / 2


def painted(entry: Entry, example: Example, studio: Studio) -> Image.Image:
    """The example by a method's regions; by an outsider, its results one over the other inside the masks."""
    stylizer = entry.stylizer
    if isinstance(stylizer, MethodStylizer):
        return studio.stylize_regions(example.content, [*example.parts.items()], 0, stylizer.method).picture
    content = example.pairs[0].content.pixels()
    result = content
    for pair in example.pairs:
        assert pair.mask is not None
        result = torch.lerp(result, stylizer.stylize(content, pair.style.pixels(), 0), pair.mask)
    return pixels_to_image(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="diffstyler,guided", help="NAME or LABEL=NAME, with commas between")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="LABEL:NAME=VALUE; repeatable")
    parser.add_argument("--examples", default=",".join(EXAMPLES))
    parser.add_argument("--size", type=int, default=512, help="short side that is worked on and measured at")
    parser.add_argument("--model", default="house")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    studio = Studio(asked.model, library_folder=asked.out / "library" / "styles")
    examples = [Example.of(asked.folder, name, asked.size) for name in asked.examples.split(",")]
    pairs = [pair for example in examples for pair in example.pairs]
    entries = Entrants(asked.methods, "photo,magenta", asked.settings).entries(studio, asked.size)
    plan, kept = Plan(pairs, entries, asked.size, 0, studio.backbone.fingerprint), KeptRows(asked.out)
    for entry in entries:
        kept.claim(entry, plan)
    rows: list[Row] = []
    sharpness: dict[str, list[float | None]] = {}
    for example in examples:
        for entry in entries:
            file = asked.out / "pictures" / entry.name / f"{example.name}.png"
            if not file.exists():
                save_picture(painted(entry, example, studio), file, {})
            for pair in example.pairs:
                opened = pair.opened()
                row = measured(opened, entry.name, file, asked.size, kept)
                rows.append(row)
                sharpness[f"{entry.name}, {pair.name}"] = [*(row[name] for name in SHOWN), sharp(file, pair)]
        print(example.name, flush=True)
    write_results(Results(Heading("Regions", studio.backbone.name, asked.size), rows, pairs, Path()), asked.out)
    table = markdown_table([*SHOWN, "sharpness"], sharpness)
    (asked.out / "regions.md").write_text(table + "\n")
    print(table)


def sharp(file: Path, pair: Pair) -> float:
    """A result's sharpness inside the pair's mask against its surroundings."""
    assert pair.mask is not None
    result = image_to_pixels(open_picture(file).image, pair.content.image.size)
    return region_sharpness(result, pair.content.pixels(), pair.mask)


if __name__ == "__main__":
    main()
