"""Contact sheets of a benchmark as JPEG, the worst pairs first, with the scores under each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from velatura.app.report.benchmark_results import Results
from velatura.evaluation.benchmark.kept import Row
from velatura.evaluation.benchmark.plan import Pair
from velatura.evaluation.measures import DIRECTIONS, goodness
from velatura.evaluation.outsiders import OUTSIDERS
from velatura.picture.writing import replacing

TILE, CAPTION, ROWS = 256, 16, 10
QUALITY = 90
JUDGED = ("edge_f1", "structure", "invented")  # what makes a pair bad, and what stands under each picture
SHEETS = "sheets"

Tile = tuple[Image.Image, str]


def write_sheets(results: Results, out: Path) -> list[Path]:
    """Write ``sheets/worst-MEASURE.jpg`` of the ten worst pairs by each of three measures, and ``sheets/all-N.jpg`` of
    all of them in the order of edge F1; returns the files. Raises PictureError where one cannot be written.
    """
    folder = out / SHEETS
    if not results.shown_entries:
        return []
    files = {folder / f"worst-{measure}.jpg": worst_first(results, measure)[:ROWS] for measure in JUDGED}
    ordered = worst_first(results, JUDGED[0])
    for start in range(0, len(ordered), ROWS):
        files[folder / f"all-{start // ROWS + 1}.jpg"] = ordered[start : start + ROWS]
    for path, pairs in files.items():
        with replacing(path) as unfinished:
            _sheet(results, pairs).save(unfinished, "JPEG", quality=QUALITY)
    for stale in set(folder.glob("all-*.jpg")) - files.keys():  # of a run with more pairs
        stale.unlink()
    return list(files)


def worst_first(results: Results, measure: str) -> list[Pair]:
    """The pairs, those first whose worst result by ``measure`` is worst; outsiders count only where nobody else is."""

    def of_pair(pair: Pair) -> float:
        rows = results.shown[pair]
        judged = [row for row in rows if row["method"] not in OUTSIDERS] or rows
        return min((goodness(row[measure], DIRECTIONS[measure]) for row in judged), default=float("inf"))

    return sorted(results.shown, key=of_pair)


def _sheet(results: Results, pairs: Sequence[Pair]) -> Image.Image:
    """Rows of content, style and every entry's result; a result that is not there is left white."""
    entries = results.shown_entries
    sheet = Image.new("RGB", ((2 + len(entries)) * TILE, len(pairs) * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        rows = {row["entry"]: row for row in results.shown[pair]}
        tiles: list[Tile | None] = [(pair.content.image, pair.content.name), (pair.style.image, pair.style.name)]
        tiles += [_tile(rows[entry], results.folder) if entry in rows else None for entry in entries]
        for column, tile in enumerate(tiles):
            if tile is not None:
                corner = (column * TILE, number * (TILE + CAPTION))
                picture = tile[0].convert("RGB").copy()
                picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
                sheet.paste(picture, corner)
                draw.text((corner[0] + 2, corner[1] + TILE + 2), tile[1], fill="black")
    return sheet


def _tile(row: Row, folder: Path) -> Tile:
    """A result with its entry and its edge F1, structure and invented structure."""
    with Image.open(folder / row["picture"]) as image:
        picture = image.convert("RGB")
    return picture, " ".join([f"{row['entry']}:", *(f"{row[measure]:.2f}" for measure in JUDGED)])
