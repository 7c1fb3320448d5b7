"""What injection does in DiffStyler: structure kept and style moved without it, by default, and in all steps.

python benchmarks/injection.py CONTENT --style STYLE --mask MASK [--guidance 0]
The structure is measured inside the mask (the box around it), the background outside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from velatura import Studio
from velatura.app.terminal import TerminalProgress
from velatura.evaluation import colour_distance, edge_f1, gram_distance, lpips_hedvgg
from velatura.picture import image_to_pixels, open_picture
from velatura.regions import parse_query
from velatura.training.check import grid

CASES = {
    "no injection": {"feature_share": 0.0, "attention_share": 0.0},
    "the paper's (0.8, 0.5)": {"attention_share": 0.5},
    "default (0.8, 0.8)": {},
    "adaptive": {"fusion": "adaptive", "attention_share": 1.0},
    "all steps": {"feature_share": 1.0, "attention_share": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/injection"))
    parser.add_argument("--guidance", type=float, default=0.0, help="0: what the model recommends, or the paper's")
    asked = parser.parse_args()
    studio = Studio("house", device="cpu", dtype="fp32", progress=TerminalProgress())
    content, target = open_picture(asked.content), image_to_pixels(open_picture(asked.style).image, (256, 256))
    style = studio.fit(asked.style, "style", "diffstyler")
    mask = parse_query(asked.mask)(content)
    rows, columns = np.nonzero(mask > 0.5)
    area = (..., slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    original = image_to_pixels(content.image)
    print("| | edge F1 ↑ | lpips-hedvgg ↓ | Gram ↓ | colour ↓ | bytes changed outside the mask |")
    print("|---|---|---|---|---|---|", flush=True)
    tiles = [image_to_pixels(content.image, (256, 256)), target]
    for name, settings in CASES.items():
        pair = [(asked.mask, style)]
        result = studio.stylize_regions(content, pair, size=256, guidance_scale=asked.guidance, **settings).picture
        pixels = image_to_pixels(result)
        changed = int((np.asarray(result) != np.asarray(content.image.convert("RGB")))[mask == 0].sum())
        inside, own = pixels[area], original[area]
        numbers = (edge_f1(inside, own), lpips_hedvgg(inside, own), gram_distance(inside, target))
        found = " | ".join(f"{value:.3g}" for value in (*numbers, colour_distance(inside, target)))
        print(f"| {name} | {found} | {changed} |", flush=True)
        tiles.append(image_to_pixels(result, (256, 256)))
    asked.out.mkdir(parents=True, exist_ok=True)
    grid(torch.cat(tiles), 3).save(asked.out / "sheet.png")


if __name__ == "__main__":
    main()
