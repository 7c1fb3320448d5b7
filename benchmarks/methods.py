"""Methods, Magenta and the photo itself over the same pairs: means, worst tenths, kinds of style, and sheets.

python benchmarks/methods.py ../shared/data/pairs/content ../shared/data/pairs/style --methods guided,s2prest
    --out runs/methods [--pairs 30] [--set guided:strength=0.5] [--kinds benchmarks/style_kinds.json]
A method is written NAME or LABEL=NAME (soft=guided with --set soft:strength=0.3 beside guided itself). Pictures and
scores are kept under --out: an interrupted run goes on, and a measure that is new is taken of the kept pictures. Two
processes can share the work of one --out by different --methods; a last run with all of them writes the tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kept_results import Example, KeptResults, Part, mean, worst_tenth
from measuring import metrics, pairs, table
from PIL import Image
from sheets import ROWS, order, sheet

from velatura import Studio
from velatura.app.options import parse_settings
from velatura.errors import SettingError
from velatura.models.features.magenta import paint_over, style_vectors
from velatura.picture import pixels_to_image
from velatura.registry import method_class

CONTENT = ("edge F1 ↑", "gradients ↑", "structure ↑", "lpips-hedvgg ↓")
STYLE = ("Gram ↓", "deep ↓", "colour ↓")
DEFECTS = ("clipped ↓", "range ↑", "lattice ↓", "invented ↓")
MEASURES = (*CONTENT, *STYLE, *DEFECTS)
WORST = ("edge F1 ↑", "structure ↑", "invented ↓")
PHOTO, MAGENTA = "photo", "magenta"
Painter = Callable[[Example], Callable[[], Image.Image]]  # what is not timed, then what is


def chosen_methods(text: str, entries: Sequence[str], size: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Method and settings by label. Raises SettingError for what cannot be read."""
    named = [(label, name or label) for label, _, name in (entry.partition("=") for entry in text.split(",") if entry)]
    asked: dict[str, list[str]] = {label: [] for label, _ in named}
    for entry in entries:
        label, colon, setting = entry.partition(":")
        if not colon or label not in asked:
            raise SettingError(f"--set {entry} is not of the form LABEL:NAME=VALUE, of a label in --methods.")
        asked[label].append(setting)
    sized = {"size": size} if size else {}
    return {label: (name, {**sized, **parse_settings(name, asked[label], None)[1]}) for label, name in named}


def painter(studio: Studio, method: str, settings: Mapping[str, Any]) -> Painter:
    """A method as a function of examples; the styles are fitted before the clock starts."""
    configured = method_class(method)(**settings)

    def paint(example: Example) -> Callable[[], Image.Image]:
        fitted = [studio.style(part.style, configured) for part in example.parts]
        regions = [(part.mask_file, style) for part, style in zip(example.parts, fitted, strict=True) if part.mask_file]
        if not regions:
            return lambda: studio.stylize(example.content, fitted[0], 0, configured).picture
        return lambda: studio.stylize_regions(example.content, regions, 0, configured).picture

    return paint


def magenta(example: Example) -> Callable[[], Image.Image]:
    """Magenta's transfer of each part's style, one over the other where they have masks."""
    vectors = [style_vectors(part.pixels) for part in example.parts]

    def paint() -> Image.Image:
        result = example.pixels
        for part, vector in zip(example.parts, vectors, strict=True):
            painted = paint_over(example.pixels, vector)
            result = painted if part.mask is None else part.mask * painted + (1 - part.mask) * result
        return pixels_to_image(result)

    return paint


def photo(example: Example) -> Callable[[], Image.Image]:
    """The content as it is."""
    return lambda: pixels_to_image(example.pixels)


def run(
    examples: Sequence[Example],
    chosen: Mapping[str, tuple[str, dict[str, Any]]],
    studio: Studio,
    out: Path,
    measures: Sequence[str],
) -> dict[str, KeptResults]:
    """Paint and measure every example with the photo, Magenta and the methods; what is kept is not done again."""
    painters: dict[str, tuple[Painter, dict[str, Any]]] = {PHOTO: (photo, {}), MAGENTA: (magenta, {})}
    for label, (name, settings) in chosen.items():
        painters[label] = (painter(studio, name, settings), {"method": name, **settings})
    results = {label: KeptResults(out / label, settings) for label, (_, settings) in painters.items()}
    taken = metrics(studio.backbone, *measures)
    for number, example in enumerate(examples):
        for label, (paint, _) in painters.items():

            def timed(paint: Painter = paint, example: Example = example) -> tuple[Image.Image, float]:
                painting = paint(example)
                started = time.perf_counter()
                picture = painting()
                return picture, time.perf_counter() - started

            results[label].make(example, timed)
            results[label].measure(example, taken)
        print(f"{number + 1} of {len(examples)}: {example.name}", flush=True)
    return results


def tables(results: Mapping[str, KeptResults], groups: Mapping[str, Sequence[str]], measures: Sequence[str]) -> str:
    """Markdown: the mean and the worst tenth of all examples, then the means of each group of them."""
    keys = list(dict.fromkeys(key for inside in groups.values() for key in inside))
    columns = (*measures, "seconds")
    means = {label: [mean(kept.column(name, keys)) for name in columns] for label, kept in results.items()}
    worst = {
        label: [worst_tenth(kept.column(name, keys), name) for name in measures] for label, kept in results.items()
    }
    text = [f"Means of {len(keys)}\n", table(columns, means), "\nMeans of the worst tenth by each measure\n"]
    text.append(table(measures, worst))
    for group, inside in groups.items():
        if len(groups) > 1 and inside and group != "all":
            own = {label: [mean(kept.column(name, inside)) for name in measures] for label, kept in results.items()}
            text += [f"\nMeans of {group} ({len(inside)})\n", table(measures, own)]
    return "\n".join(text) + "\n"


def write(examples: Sequence[Example], results: Mapping[str, KeptResults], tabled: str, out: Path) -> None:
    """The tables and the sheets: the worst by each of three measures, then all in the order of their edges."""
    (out / "tables.md").write_text(tabled)
    shown = {label: kept for label, kept in results.items() if label != PHOTO}
    judged = {label: kept for label, kept in shown.items() if label != MAGENTA} or shown
    for measure in WORST:
        sheet(order(examples, judged, measure), shown, WORST, out / f"worst-{measure.split()[0]}.jpg")
    ordered = order(examples, judged, WORST[0])
    for start in range(0, len(ordered), ROWS):
        sheet(ordered[start : start + ROWS], shown, WORST, out / f"sheet-{start // ROWS + 1}.jpg")
    print(tabled)


def options(doc: str | None) -> argparse.ArgumentParser:
    """The options that benchmarks of methods share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", default="", help="NAME or LABEL=NAME, with commas between; none: photo and Magenta"
    )
    parser.add_argument("--set", action="append", default=[], dest="settings", help="LABEL:NAME=VALUE; repeatable")
    parser.add_argument("--model", default="house")
    parser.add_argument("--out", type=Path, required=True)
    return parser


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--size", type=int, default=256, help="short side that is worked and measured at")
    parser.add_argument("--kinds", type=Path, default=Path(__file__).with_name("style_kinds.json"))
    asked = parser.parse_args()
    chosen = chosen_methods(asked.methods, asked.settings, asked.size)
    studio = Studio(asked.model, library_folder=asked.out / "library" / "styles")
    examples = [
        Example(f"{pair.content.name}-{pair.style.name}", pair.content, pair.c, [Part(pair.style, pair.s)])
        for pair in pairs(asked.contents, asked.styles, asked.pairs, asked.size)
    ]
    results = run(examples, chosen, studio, asked.out, MEASURES)
    groups = {"all": [example.name for example in examples]}
    for kind, names in json.loads(asked.kinds.read_text()).items():
        stems = {Path(name).stem for name in names}
        groups[kind] = [e.name for e in examples if Path(e.parts[0].style.name).stem in stems]
    write(examples, results, tables(results, groups, MEASURES), asked.out)


if __name__ == "__main__":
    main()
