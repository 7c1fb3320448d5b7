"""S2PreST against InST at several strengths: edges kept of the content, distance to the style.

python benchmarks/s2prest.py ../shared/data/pairs/content ../shared/data/pairs/style --out runs/s2prest
writes table.md, plot.png and sheet.jpg (content, style, edges, then each strength for InST and S2PreST).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from measuring import metrics, pairs, table, tiled

from velatura import Studio
from velatura.app.options import parse_settings
from velatura.app.terminal import TerminalProgress
from velatura.training.check import grid

STRENGTHS = (0.2, 0.4, 0.6, 0.8)
METHODS = ("inst", "s2prest")
MEASURES = ("edge F1 ↑", "lpips-hedvgg ↓", "Gram ↓", "Magenta cosine ↑", "colour ↓")
SIDE = 256
TILE = (192, 192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/s2prest"))
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--shown", type=int, default=6, help="pairs on the sheet")
    parser.add_argument("--model", default="house")
    parser.add_argument("--set", action="append", dest="settings")
    asked = parser.parse_args()
    settings = parse_settings("s2prest", asked.settings, None) | {"size": SIDE}
    studio = Studio(asked.model, progress=TerminalProgress())
    taken = metrics(studio.backbone, *MEASURES)
    sums = {(method, strength): torch.zeros(len(MEASURES)) for method in METHODS for strength in STRENGTHS}
    evaluations = dict.fromkeys(sums, 0.0)
    tiles = []
    for index, pair in enumerate(pairs(asked.contents, asked.styles, asked.pairs, SIDE)):
        fitted = studio.fit(pair.style, method="s2prest")
        row = [pair.content.image, pair.style.image]
        for method in METHODS:
            for strength in STRENGTHS:
                result = studio.stylize(pair.content, fitted, 0, method, **settings, strength=strength)
                if method == "s2prest" and strength == STRENGTHS[0]:
                    row.insert(2, result.layers["canny"])
                sums[method, strength] += pair.measured(pair.as_pixels(result.picture), taken)
                evaluations[method, strength] += result.scores["unet_evaluations"]
                row.append(result.picture)
        if index < asked.shown:
            tiles.append(tiled(row, TILE))
    asked.out.mkdir(parents=True, exist_ok=True)
    grid(torch.cat(tiles), 3 + len(sums)).save(asked.out / "sheet.jpg", quality=90)
    means = {key: (value / asked.pairs).tolist() for key, value in sums.items()}
    rows = {f"{key[0]}, {key[1]}": [*means[key], evaluations[key] / asked.pairs] for key in means}
    printed = table((*MEASURES, "UNet evaluations"), rows)
    (asked.out / "table.md").write_text(printed + "\n")
    print(printed)
    plot(means, asked.out / "plot.png")


def plot(means: dict[tuple[str, float], list[float]], path: Path) -> None:
    """Edges kept against style distance, one line a method, one point a strength."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axis, column in zip(axes, (2, 3), strict=True):
        for method in METHODS:
            points = [means[method, strength] for strength in STRENGTHS]
            axis.plot([p[column] for p in points], [p[0] for p in points], "o-", label=method)
            for strength, p in zip(STRENGTHS, points, strict=True):
                axis.annotate(f"{strength}", (p[column], p[0]), textcoords="offset points", xytext=(4, 4), fontsize=8)
        axis.set_xlabel(MEASURES[column])
        axis.set_ylabel(MEASURES[0])
        axis.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
