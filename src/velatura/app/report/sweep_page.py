"""The page on a sweep's results, which are gathered as they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from velatura.app.input_search import InputSearch
from velatura.app.options import parse_region_style
from velatura.app.recorded import Recorded
from velatura.app.report.entries import Entry, write_report
from velatura.app.report.gathering import Gathering
from velatura.app.report.inversion import inversion_score
from velatura.app.studio import Studio
from velatura.app.sweep import Sweep
from velatura.app.targets import files_among
from velatura.methods.base import Stylization
from velatura.picture import Picture

Keep = Callable[[Path, Stylization, Picture], None]  # a saved result: its file, itself, its content


@contextmanager
def sweep_page(path: Path | None, sweep: Sweep, studio: Studio) -> Iterator[Keep]:
    """A function that takes each result of a sweep; when the block ends, however it does, their page is at ``path``.

    Without a path nothing is kept.
    """
    if path is None:
        yield lambda file, result, content: None
        return
    styles = [*(style for choice in sweep.choices for style in choice), *(style for _, style in sweep.regions)]
    files = files_among([*styles, *(parse_region_style(style)[0] for _, style in sweep.regions)])
    search = InputSearch([*dict.fromkeys(file.parent for file in files)])
    gathering = Gathering(studio.library, search, partial(inversion_score, studio))
    entries: list[Entry] = []

    def keep(file: Path, result: Stylization, content: Picture) -> None:
        entries.append(gathering.entry(Recorded(file, result.manifest), result, content))

    try:
        yield keep
    finally:
        if entries:
            write_report(path, entries)
