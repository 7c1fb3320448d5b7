"""velatura compare: a page on which people choose blindly between results, and the scores of their choices."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.errors import SettingError

if TYPE_CHECKING:
    from PIL.Image import Image

    from velatura.app.comparing import Key
    from velatura.evaluation.bradley_terry import Rating

PICTURE_SIDE, REFERENCE_SIDE = 1280, 480  # pixels of the longest side in a page
QUESTION = "Which picture would you rather keep?"


@dataclass(frozen=True)
class CompareOptions:
    """Arguments and options of ``velatura compare``."""

    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Two folders with results of the same names (or two pictures); with --scores files of choices.",
            metavar="A B",
            show_default=False,
        ),
    ]
    scores: Annotated[
        bool, typer.Option("--scores", help="Count the choices in these JSON files: Bradley-Terry scores.")
    ] = False
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("compare.html")
    content: Annotated[
        Path | None,
        typer.Option(help="A folder with the photos, or the one photo, to be shown too.", show_default=False),
    ] = None
    style: Annotated[
        Path | None,
        typer.Option(help="A folder with the style pictures, or the one, to be shown too.", show_default=False),
    ] = None
    question: Annotated[str, typer.Option(help="What the page asks.")] = QUESTION
    seed: Annotated[
        int | None, typer.Option(help="The seed of order and sides; the page hides it.", show_default="a new one")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False


def compare(options: CompareOptions) -> None:
    """Write a page on which people choose blindly between results of A and B; count their choices with --scores.

    The page is one file that works without a server: sides and order are drawn at random, arrow keys choose, the space
    bar calls it a tie, and the choices are downloaded as JSON. A pair with a picture that cannot be read is told and
    left out, with exit code 1; --scores counts files of the same content once.
    """
    if options.scores:
        _print_scores(options.paths)
        return
    if len(options.paths) != 2:
        raise SettingError(f"Two folders or two pictures are compared, not {len(options.paths)}.")
    if _write_page(options):
        raise typer.Exit(1)


def _write_page(options: CompareOptions) -> int:
    """Write the page, and print its name; returns how many pairs were left out."""
    from velatura.app.comparing import Key, folder_names, result_pairs
    from velatura.app.report.page import write_page
    from velatura.app.targets import Inputs, page_file

    first, second = options.paths
    pairs = result_pairs(first, second)
    names = folder_names(first, second)
    out = page_file(options.out, Inputs([path for pair in pairs.values() for path in pair]), options.force)
    shown = _shown(pairs)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    key = Key(seed, *names, tuple(shown))
    trials = [*_trials(key, shown, _references(options, {name: pairs[name] for name in shown}))]
    data = {"question": options.question, "key": key.encoded(), "trials": trials}
    write_page(out, "compare.html.j2", data=data)
    typer.echo(out)
    return len(pairs) - len(shown)


def _shown(pairs: Mapping[str, tuple[Path, Path]]) -> dict[str, tuple[str, str]]:
    """Both pictures of each pair as the page holds them, at the smaller one's size; a pair with a damaged one is told
    and left out. Raises PictureError where that is so of all.
    """
    from velatura.app.report.page import data_uri
    from velatura.app.terminal import say
    from velatura.errors import PictureError
    from velatura.picture import open_picture

    found: dict[str, tuple[str, str]] = {}
    resized: list[str] = []
    for name, paths in pairs.items():
        try:
            images = [open_picture(path).image for path in paths]
        except PictureError as error:
            say(f"The pair {name} is left out: {error}")
            continue
        if images[0].size != images[1].size:
            resized.append(name)
        first, second = (data_uri(image, PICTURE_SIDE) for image in at_smaller_size(images))
        found[name] = first, second
    if not found:
        raise PictureError("No pair can be shown: the reasons stand above.")
    if resized:
        say(f"{len(resized)} pairs are of two sizes, such as {resized[0]}: both are shown at the smaller one.")
    return found


def at_smaller_size(images: Sequence[Image]) -> list[Image]:
    """Pictures scaled down into the size of the smallest, their aspects kept."""
    from PIL.Image import Resampling

    smallest = min((image.size for image in images), key=lambda size: size[0] * size[1])
    scaled = [image.copy() for image in images]
    for image in scaled:
        image.thumbnail(smallest, Resampling.LANCZOS)
    return scaled


def _references(options: CompareOptions, pairs: Mapping[str, tuple[Path, Path]]) -> dict[str, list[tuple[str, Path]]]:
    """The photo and the style picture of each pair with their captions; those that are not found are told."""
    from velatura.app.references import References
    from velatura.app.terminal import say

    found: dict[str, list[tuple[str, Path]]] = {name: [] for name in pairs}
    for caption, entry, place in (("photo", "content", options.content), ("style", "style", options.style)):
        references = References.of(place, entry)
        paths = {name: references.find(name, *results) for name, results in pairs.items()}
        for name, path in paths.items():
            found[name] += [] if path is None else [(caption, path)]
        lacking = [name for name, path in paths.items() if path is None]
        if place is not None and lacking:
            say(f"{place} holds no {caption} for {len(lacking)} of {len(pairs)} pairs, such as {lacking[0]}.")
    return found


def _trials(
    key: Key, shown: Mapping[str, tuple[str, str]], references: Mapping[str, list[tuple[str, Path]]]
) -> Iterator[dict[str, Any]]:
    """What the page shows, in its order: the pictures of a pair on their sides, and what they were made of."""
    from velatura.app.report.page import data_uri
    from velatura.picture import open_picture

    for number in key.order():
        name = key.pairs[number]
        first, second = shown[name]
        left, right = (first, second) if key.first_is_left(number) else (second, first)
        yield {
            "pair": name,
            "left": left,
            "right": right,
            "references": [
                {"caption": caption, "uri": data_uri(open_picture(path).image, REFERENCE_SIDE)}
                for caption, path in references[name]
            ],
        }


def _print_scores(files: list[Path]) -> None:
    from rich.console import Console

    from velatura.app.comparing import counted, counted_once, read_choices
    from velatura.app.terminal import say
    from velatura.evaluation.bradley_terry import bradley_terry

    by_file = {file: read_choices(file) for file in files}
    files, again = counted_once(files)
    for file in again:
        say(f"{file} has the same choices as a file before it: they are counted once.")
    results = [by_file[file] for file in files]
    wins = counted(results)
    ratings = bradley_terry(wins)
    choices = sum(len(found) for _, found in results)
    console = Console()
    console.print(f"{choices} choices from {len(files)} file{'s' * (len(files) > 1)}", highlight=False)
    console.print(_rating_table(ratings, wins), _preference_table(ratings))
    console.print("Scores are log-odds about their mean, with 95 % intervals that take choices as independent.")


def _rating_table(ratings: list[Rating], wins: Mapping[tuple[str, str], float]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "score", "95 % interval", "preferred", box=None)
    for rating in ratings:
        won = sum(count for pair, count in wins.items() if pair[0] == rating.name)
        lost = sum(count for pair, count in wins.items() if pair[1] == rating.name)
        interval = f"{rating.low:+.2f} to {rating.high:+.2f}"
        table.add_row(Text(rating.name), f"{rating.score:+.2f}", interval, f"{won:g} of {won + lost:g}")
    return table


def _preference_table(ratings: list[Rating]) -> Any:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from velatura.evaluation.bradley_terry import preference

    table = Table("preferred to", *(escape(rating.name) for rating in ratings), box=None)
    for rating in ratings:
        chances = ("" if other is rating else f"{preference(rating, other):.0%}" for other in ratings)
        table.add_row(Text(rating.name), *chances)
    return table
