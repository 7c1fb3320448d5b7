"""Contact sheets of a benchmark, the worst examples first, with the scores under each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kept_results import Example, KeptResults
from PIL import Image, ImageDraw

TILE, CAPTION, ROWS = 256, 16, 10


def order(examples: Sequence[Example], results: Mapping[str, KeptResults], measure: str) -> list[Example]:
    """The examples, those first whose worst result by ``measure`` is worst; the photo and Magenta do not count."""
    sign = 1 if "↓" in measure else -1

    def badness(example: Example) -> float:
        return max(sign * value for kept in results.values() for value in kept.column(measure, example.score_names()))

    return sorted(examples, key=badness, reverse=True)


def sheet(examples: Sequence[Example], results: Mapping[str, KeptResults], measures: Sequence[str], path: Path) -> None:
    """Rows of content, styles and every result, at most ten rows; ``measures`` stand under each."""
    shown = list(examples)[:ROWS]
    styles = max(len(example.parts) for example in shown)
    columns = 1 + styles + len(results)
    page = Image.new("RGB", (columns * TILE, len(shown) * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(page)
    for row, example in enumerate(shown):
        tiles = [(example.content.image, example.name)]
        tiles += [(part.style.image, part.style.name) for part in example.parts]
        tiles += [(Image.new("RGB", (1, 1), "white"), "")] * (styles - len(example.parts))
        for label, kept in results.items():
            scores = [[kept.known[key][name] for key in example.score_names()] for name in measures]
            short = " ".join("/".join(f"{value:.2f}" for value in values) for values in scores)
            with Image.open(kept.path(example)) as opened:
                tiles.append((opened.convert("RGB"), f"{label}: {short}"))
        for column, (picture, caption) in enumerate(tiles):
            corner = (column * TILE, row * (TILE + CAPTION))
            fitted = picture.convert("RGB").copy()
            fitted.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
            page.paste(fitted, corner)
            draw.text((corner[0] + 2, corner[1] + TILE + 2), caption, fill="black")
    page.save(path, quality=90)
