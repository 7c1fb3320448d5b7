"""What a report shows of one result, and the page of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from velatura.app.explaining import facts, region_rows, scored, setting_rows
from velatura.app.recorded import Recorded
from velatura.app.repeating import repeating_command
from velatura.app.report.curves import HEIGHT, WIDTH, Curve
from velatura.app.report.page import write_page
from velatura.version import __version__

Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Figure:
    """A picture in a page: its caption and the URI that holds it."""

    caption: str
    uri: str


@dataclass(frozen=True, eq=False)
class Entry:
    """A result in a page: pictures, and texts for its tables. ``before`` is empty where the content is not here."""

    recorded: Recorded
    after: str
    before: str = ""
    styles: Sequence[Figure] = ()
    layers: Sequence[Figure] = ()
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The file's name."""
        return self.recorded.path.name

    @property
    def facts(self) -> Rows:
        """Names and values."""
        return facts(self.recorded)

    @property
    def regions(self) -> Rows:
        """Number, place, style, weight and span of each region."""
        return region_rows(self.recorded)

    @property
    def settings(self) -> Rows:
        """Names and values of those that differ from the defaults."""
        return setting_rows(self.recorded)

    @property
    def scores(self) -> Rows:
        """Names, values and meanings: the page's measures, then the run's own."""
        return [scored(name, value) for name, value in {**self.measures, **self.recorded.scores}.items()]

    @property
    def curves(self) -> Sequence[Curve]:
        """The losses of the run."""
        found = [Curve.of(name, range(len(values)), values) for name, values in self.recorded.loss_curves.items()]
        return [curve for curve in found if curve is not None]

    @property
    def fits(self) -> Sequence[Curve]:
        """The losses of the styles' fits."""
        sources = [source for region in self.recorded.regions for source, _ in region.parts if source.get("loss")]
        found = [Curve.of(str(each["name"]), *zip(*each["loss"], strict=True)) for each in sources]
        return list({curve.name: curve for curve in found if curve is not None}.values())

    @property
    def commands(self) -> Sequence[str]:
        """The command that makes it from the manifest, and the one that asks for it anew."""
        return [f"velatura reproduce {self.recorded.path}", repeating_command(self.recorded)]


def write_report(path: Path, entries: Sequence[Entry]) -> None:
    """Write the page on these results. Raises PictureError where it cannot be written."""
    write_page(path, "report.html.j2", entries=entries, version=__version__, width=WIDTH, height=HEIGHT)
