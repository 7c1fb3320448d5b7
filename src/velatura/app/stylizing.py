"""Making a sweep's results one by one: each is saved when it is done, and a photo that cannot be done is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from velatura.app.failures import sentence
from velatura.app.files import ContentFile
from velatura.app.photo_progress import PhotoProgress
from velatura.app.resume import REQUEST, Planned, Request
from velatura.app.studio import Studio, check_mixes
from velatura.app.sweep import Job, Strength, Sweep
from velatura.errors import ModelError, StyleError, VelaturaError
from velatura.methods.base import Stylization
from velatura.picture import Picture, open_picture, save_picture
from velatura.registry import method_class
from velatura.style import Style

# What may concern one photo only. Out of memory on a GPU is a RuntimeError.
OF_ONE_PHOTO = (VelaturaError, OSError, MemoryError, RuntimeError)
OF_ALL = (StyleError, ModelError)
EDGE_LAYERS = ("canny", "hed", "edges")


@dataclass(eq=False)
class Run:
    """A sweep on a Studio under a seed. ``say`` gets sentences for the user, ``report`` the paths of results, ``keep``
    each result with its path and content.

    ``made`` counts results, ``skipped`` holds the photos that could not be done.
    """

    sweep: Sweep
    studio: Studio
    request: Request
    seed: int
    say: Callable[[str], None]
    report: Callable[[Path], None]
    keep: Callable[[Path, Stylization, Picture], None]
    made: int = 0
    skipped: set[ContentFile] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)
    _styles: dict[int, Style] = field(default_factory=dict)

    def make(self, planned: Planned, progress: PhotoProgress) -> None:
        """Make what is planned, photo by photo, or as many together as share the model's passes.

        Raises what stops all photos: a style or a model that cannot be used, a result that cannot be written, and what
        stops the only one.
        """
        contents = list(dict.fromkeys(job.content for job in planned.jobs))
        numbers = {content: number for number, content in enumerate(self.sweep.contents, 1)}
        together, done = method_class(self.sweep.method).batch, 0
        for first in range(0, len(contents), together):
            chosen = contents[first : first + together]
            jobs = [job for job in planned.jobs if job.content in chosen]
            shown = "-".join(dict.fromkeys(str(numbers[content]) for content in (chosen[0], chosen[-1])))
            opened = {content: picture for content in chosen if (picture := self._opened(content)) is not None}
            if opened:
                self._read_styles()  # now, so that none that is missing stops the work half-way
            for group in _alike([job for job in jobs if job.content in opened]):
                progress.start(shown, len(numbers), done, len(planned.jobs) - done)
                self._make_group(group, opened, planned)
                done += len(group)
        self.say_skipped()

    def _opened(self, content: ContentFile) -> Picture | None:
        try:
            picture = open_picture(content.path)
        except OF_ONE_PHOTO as error:
            self._skip(content, error)
            return None
        for note in picture.notes:
            self.say(note)
        return picture

    def _make_group(self, jobs: Sequence[Job], opened: Mapping[ContentFile, Picture], planned: Planned) -> None:
        """Jobs of different photos with one style and strength, together; alone where they cannot all be done."""
        style = self._style(jobs[0].styles) if jobs[0].styles else None
        try:
            results = self._results(jobs, [opened[job.content] for job in jobs], style)
        except OF_ONE_PHOTO as error:
            if len(jobs) == 1:
                self._skip(jobs[0].content, error)
                return
            for job in jobs:
                self._make_group([job], opened, planned)
            return
        for job, result in zip(jobs, results, strict=True):
            self._save(job, result, opened[job.content], planned)

    def _read_styles(self) -> None:
        for choice in self.sweep.choices:
            self._style(choice)

    def _style(self, choice: Mapping[str | Path, float]) -> Style:
        """One style of those chosen with weights, read or fitted once for all photos."""
        if id(choice) not in self._styles:
            method = self.sweep.configured(self.sweep.strengths[0])
            check_mixes(method, len(choice))
            self._styles[id(choice)] = method.mix([(self.studio.style(s, method), w) for s, w in choice.items()])
        return self._styles[id(choice)]

    def _results(self, jobs: Sequence[Job], contents: Sequence[Picture], style: Style | None) -> Sequence[Stylization]:
        method, settings = self.sweep.method, self.sweep.settings_at(jobs[0].strength)
        if style is not None:
            return self.studio.stylize_all(contents, style, self.seed, method, **settings)
        regions = self.sweep.regions
        return [self.studio.stylize_regions(content, regions, self.seed, method, **settings) for content in contents]

    def _save(self, job: Job, result: Stylization, content: Picture, planned: Planned) -> None:
        if not self.made:
            for note in planned.plan.notes:  # not before: a run that is refused writes nothing
                self.say(note)
        target = planned.plan.now_free(job.target)
        manifest = {**result.manifest, REQUEST: self.request.digest(content.digest, job.styles, job.strength)}
        edges = next((result.layers[name] for name in EDGE_LAYERS if name in result.layers), None)
        if target.edges is not None and edges is not None:
            save_picture(edges, target.edges, {})
        self.report(save_picture(result.picture, target.file, manifest, result.alpha, target.with_sidecar))
        self.keep(target.file, result, content)
        self.made += 1

    def _skip(self, content: ContentFile, error: Exception) -> None:
        """Say, once for each sentence, that a photo is skipped; raise what stops all."""
        if not self.made and (isinstance(error, OF_ALL) or len(self.sweep.contents) == 1):
            raise error
        self.skipped.add(content)
        told = sentence(error)
        if told not in self._said:
            self._said.add(told)
            self.say(f"Skipped{'' if str(content.path) in told else f' {content.path}'}: {told}")

    def say_skipped(self) -> None:
        """Say how many photos were skipped, if any."""
        if self.skipped:
            self.say(f"{len(self.skipped)} of {len(self.sweep.contents)} photos were skipped.")


def _alike(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs by style and strength, in order."""
    groups: dict[tuple[int, Strength], list[Job]] = {}
    for job in jobs:
        groups.setdefault((id(job.styles), job.strength), []).append(job)
    yield from groups.values()
