"""DiffStyler's two examples with two styles each, measured inside the masks, beside Magenta and the photo.

python benchmarks/regions.py ../shared/data/masked --methods diffstyler,guided --out runs/regions
Options are as in benchmarks/methods.py. "sharpness" is the region's against its surroundings, 1 as in the photo.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from kept_results import Example, Part
from methods import chosen_methods, options, run, tables, write
from PIL import Image

from velatura import Studio
from velatura.picture import image_to_pixels, open_picture

MEASURES = (
    "edge F1 ↑",
    "gradients ↑",
    "structure ↑",
    "lpips-hedvgg ↓",
    "deep ↓",
    "colour ↓",
    "clipped ↓",
    "range ↑",
    "sharpness",
    "invented ↓",
)
FACE, DEER, GRASS = "girl1_face.png", "deer1_deer.png", "deer1_grass.png"
# The content, and the styles by the mask where they go.
EXAMPLES = {
    "girl, pale": ("girl1.jpg", {FACE: "girl_c1.jpg"}),
    "girl, deer's": ("girl1.jpg", {FACE: "deer_c1.jpg"}),
    "deer": ("deer1.jpg", {DEER: "deer_c1.jpg", GRASS: "deer_c2.jpg"}),
    "deer, swapped": ("deer1.jpg", {DEER: "deer_c2.jpg", GRASS: "deer_c1.jpg"}),
}


def opened(folder: Path, name: str, side: int) -> Example:
    """An example at ``side`` pixels square."""
    file, styles = EXAMPLES[name]
    content, parts = open_picture(folder / file), []
    for mask_file, style_file in styles.items():
        with Image.open(folder / mask_file) as image:
            mask = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX))
        style = open_picture(folder / style_file)
        weights = torch.from_numpy(mask.copy())[None, None].float() / 255
        parts.append(Part(style, image_to_pixels(style.image, (side, side)), weights, folder / mask_file))
    return Example(name, content, image_to_pixels(content.image, (side, side)), parts)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=0, help="short side that is worked at; 0: the methods' own")
    parser.add_argument("--measured", type=int, default=512, help="side that is measured at")
    asked = parser.parse_args()
    chosen = chosen_methods(asked.methods, asked.settings, asked.size)
    studio = Studio(asked.model, library_folder=asked.out / "library" / "styles")
    examples = [opened(asked.folder, name, asked.measured) for name in EXAMPLES]
    results = run(examples, chosen, studio, asked.out, MEASURES)
    groups = {"all": [key for example in examples for key in example.score_names()]}
    groups |= {key: [key] for key in groups["all"]}
    write(examples, results, tables(results, groups, MEASURES), asked.out)


if __name__ == "__main__":
    main()
