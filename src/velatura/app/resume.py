"""Which results of a sweep are there already, by what was asked for them, and where the others go."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from velatura.app.options import AUTO, parse_region_style
from velatura.app.sweep import Job, Strength, Sweep
from velatura.app.targets import Plan, Target, files_among
from velatura.errors import PictureError
from velatura.methods.fast_painting import fast_networks_of
from velatura.methods.provenance import versions
from velatura.models.backbone import Backbone
from velatura.picture import read_manifest
from velatura.picture.reading import MAX_BYTES
from velatura.picture.regular_file import read_regular
from velatura.style import StyleLibrary

REQUEST = "request"  # in a manifest: the digest of what was asked


class Request:
    """What a sweep asks of one model under one seed; its digests stand in the results' manifests.

    ``backbone`` gives the model, loaded; it is asked only where a result may be there already.
    """

    def __init__(
        self, sweep: Sweep, model: str, seed: int, library: StyleLibrary, backbone: Callable[[], Backbone]
    ) -> None:
        self._sweep, self._library, self._backbone = sweep, library, backbone
        named = [style for choice in sweep.choices for style in choice]
        self._styles = {style: self._identity(str(style)) for style in named}
        self._common = {
            "model": model,
            "seed": seed,
            "method": sweep.method,
            "regions": [
                [where, style, *map(self._identity, (where, parse_region_style(style)[0]))]
                for where, style in sweep.regions
            ],
            "versions": versions(),
        }

    def _identity(self, text: str) -> list[str]:
        """A text, and the hashes of the files and the library's style that it may stand for."""
        files = [*files_among([text]), *([self._library.path(text)] if self._library.has(text) else [])]
        return [text, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)]

    def digest(self, content: str, styles: Mapping[str | Path, float], strength: Strength) -> str:
        """SHA-256 of all that decides about one result of the content with the SHA-256 ``content``."""
        settings = asdict(self._sweep.configured(strength))
        files = [self._identity(value) for value in settings.values() if isinstance(value, str) and value]
        shares = [[self._styles[style], weight] for style, weight in styles.items()]
        asked: dict[str, Any] = {"content": content, "settings": settings, "files": files, "styles": shares}
        asked |= {"strength": AUTO} if strength == AUTO else {}
        return hashlib.sha256(json.dumps(self._common | asked, sort_keys=True, default=repr).encode()).hexdigest()

    def made(self, jobs: Sequence[Job]) -> dict[Job, Target]:
        """The jobs whose results exist with the manifest that they would get, each with its own target."""
        wished = Counter(job.target.file for job in jobs)
        made: dict[Job, Target] = {}
        for job in jobs:
            target = self._existing(job, {target.file for target in made.values()}, wished[job.target.file])
            if target is not None:
                made[job] = target
        return made

    def _existing(self, job: Job, taken: set[Path], gaps: int) -> Target | None:
        """A job's result, under its wished name or numbered; of the numbers ``gaps`` may be missing."""
        try:
            content = hashlib.sha256(read_regular(job.content.path, MAX_BYTES)).hexdigest()
        except PictureError:
            return None  # it is told when its turn comes
        asked = self.digest(content, job.styles, job.strength)
        for number in count():
            target = job.target.numbered(number)
            if not target.file.is_file():
                gaps -= 1
                if gaps < 0:
                    return None
            elif target.file not in taken and self._is_made(target.file, asked):
                return target
        return None

    def _is_made(self, path: Path, asked: str) -> bool:
        try:
            manifest = read_manifest(path)
        except PictureError:
            return False
        return manifest.get(REQUEST) == asked and self._is_by_this_model(manifest)

    def _is_by_this_model(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the model's weights made a result, and those of the fast method's networks that took part."""
        backbone, painted_by = self._backbone(), manifest.get("fast_networks") or {}
        networks = fast_networks_of(backbone) if painted_by else {}
        same = all(networks.get(name) == digest for name, digest in painted_by.items())
        return same and manifest.get("model_fingerprint") == backbone.fingerprint


@dataclass(frozen=True)
class Planned:
    """Jobs with their final targets, how many results are there already, and sentences for the user."""

    jobs: Sequence[Job]
    plan: Plan
    made: int
    notes: Sequence[str]


def planned(sweep: Sweep, jobs: Sequence[Job], force: bool, resumed: Request | None) -> Planned:
    """Final targets for ``jobs``, but for those that are there as a ``resumed`` request asks for them.

    Raises TargetError where an input would be lost or a target cannot be written.
    """
    made = resumed.made(jobs) if resumed else {}
    left = [job for job in jobs if job not in made]
    plan = Plan([job.target for job in left], sweep.inputs(), force, list(made.values()))
    chosen = [replace(job, target=target) for job, target in zip(left, plan.targets, strict=True)]
    said = [f"{len(made)} of {len(jobs)} results are there already and stay."] if made else []
    return Planned(chosen, plan, len(made), said)
