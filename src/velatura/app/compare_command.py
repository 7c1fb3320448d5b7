"""velatura compare: a page on which people choose blindly between results, and the scores of their choices."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.errors import SettingError

if TYPE_CHECKING:
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
    bar calls it a tie, and the choices are downloaded as JSON.
    """
    if options.scores:
        _print_scores(options.paths)
        return
    if len(options.paths) != 2:
        raise SettingError(f"Two folders or two pictures are compared, not {len(options.paths)}.")
    typer.echo(_write_page(options))


def _write_page(options: CompareOptions) -> Path:
    from velatura.app.comparing import Key, folder_names, result_pairs
    from velatura.app.report.page import write_page
    from velatura.app.targets import Inputs, page_file

    first, second = options.paths
    pairs = result_pairs(first, second)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    key = Key(seed, *folder_names(first, second), tuple(pairs))
    out = page_file(options.out, Inputs([path for pair in pairs.values() for path in pair]), options.force)
    trials = [*_trials(key, pairs, options)]
    data = {"question": options.question, "key": key.encoded(), "trials": trials}
    write_page(out, "compare.html.j2", data=data)
    return out


def _trials(key: Key, pairs: Mapping[str, tuple[Path, Path]], options: CompareOptions) -> Iterator[dict[str, Any]]:
    """What the page shows, in its order: the pictures of a pair on their sides, and what they were made of."""
    from velatura.app.comparing import References
    from velatura.app.report.page import data_uri
    from velatura.picture import open_picture

    contents, styles = References.of(options.content, "content"), References.of(options.style, "style")
    for number in key.order():
        name = key.pairs[number]
        first, second = pairs[name]
        left, right = (first, second) if key.first_is_left(number) else (second, first)
        references = {"photo": contents.find(name, first), "style": styles.find(name, first)}
        yield {
            "pair": name,
            "left": data_uri(open_picture(left).image, PICTURE_SIDE),
            "right": data_uri(open_picture(right).image, PICTURE_SIDE),
            "references": [
                {"caption": caption, "uri": data_uri(open_picture(path).image, REFERENCE_SIDE)}
                for caption, path in references.items()
                if path is not None
            ],
        }


def _print_scores(files: list[Path]) -> None:
    from rich.console import Console

    from velatura.app.comparing import counted, read_choices
    from velatura.evaluation.bradley_terry import bradley_terry

    results = [read_choices(file) for file in files]
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
