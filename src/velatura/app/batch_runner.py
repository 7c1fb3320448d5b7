"""A Studio at work on a batch's rows: the same rows give the same bytes, whatever the worker did before."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from velatura.app.batch_rows import settings_of_text
from velatura.app.failures import sentence
from velatura.app.studio import TEXT_STYLE, Studio, configured, text_style
from velatura.batch.place import Patience, Place, file_state, read_input
from velatura.batch.row import Row
from velatura.batch.work import Made, Prepared
from velatura.cache import Cache
from velatura.errors import SettingError
from velatura.methods.base import Method, Stylization
from velatura.methods.fast_painting import all_weights
from velatura.methods.provenance import versions
from velatura.methods.style_fitting import fit_style
from velatura.methods.validation import Range, check_value
from velatura.models.loading.catalogue import short_names
from velatura.picture import save_picture
from velatura.picture.reading import MAX_BYTES, picture_of_bytes, upright_size
from velatura.picture.writing import FORMATS
from velatura.style import Style

STYLE_FILE = ".safetensors"
FITTED = ".batch/styles"
COSTS = ("seconds", "unet_evaluations")  # what depends on the machine's day and on what was cached


@dataclass(frozen=True)
class StudioRunners:
    """Makes a ``StudioRunner`` in each worker: a model by name, its device and number format, where fitted styles are
    kept for all workers, the results' format, and how many contents share a pass (0: as many as the method's usual).
    """

    model: str
    device: str
    dtype: str
    place: Place
    ending: str = ".png"
    batch: int = 0

    def __post_init__(self) -> None:
        if self.ending not in FORMATS:
            raise SettingError(f"--format must be one of {', '.join(each[1:] for each in FORMATS)}.")
        check_value("--batch", self.batch, int, Range(0, 256))

    def __call__(self) -> StudioRunner:
        return StudioRunner(self)

    @property
    def decides(self) -> str:
        """What decides about all pictures and is no row's."""
        return json.dumps([self.model, self.ending, self.batch])

    def states(self) -> Callable[[Row], str]:
        """The states of the files of a row and of the model, with the versions of the programs."""
        state = lru_cache(maxsize=4096)(file_state)
        model, programs = _model_state(self.model), json.dumps(versions())

        def state_of(row: Row) -> str:
            files = [row.content, *([] if row.style.startswith(TEXT_STYLE) else [row.style])]
            states = [state(file) for file in files]
            if not model or not all(states):
                return ""
            return f"{programs}{model}{states}{[state(name) for name in _texts(json.loads(row.settings))]}"

        return state_of


class StudioRunner:
    """One model that makes the pictures of rows.

    Rows of one content share its inversion, those of one style its fit. What several contents share is kept for these
    alone, since the last bits depend on who shares a pass.
    """

    def __init__(self, given: StudioRunners) -> None:
        self._given, self.ending = given, given.ending
        self._studio = Studio(given.model, given.device, given.dtype)
        self._studio.cache = self._lasting = Cache()
        self._company: tuple[str, ...] = ()
        self._styles = Cache(limit=32)
        self._model = [given.model, all_weights(self._studio.backbone), versions()]
        self._method = lru_cache(maxsize=256)(self._configured)
        self._digest = lru_cache(maxsize=1024)(lambda url: hashlib.sha256(_input(url)).hexdigest())

    def prepare(self, row: Row, content: bytes) -> Prepared:
        """The row's hash, and what must be equal for two rows to share a pass: all but the content, but its size."""
        method = self._method(row.method, row.settings)
        name = PurePosixPath(row.content).name
        size = method.working_size(upright_size(content, name), self._studio.backbone)
        words = row.style.startswith(TEXT_STYLE)
        decides = {
            "content": [name, hashlib.sha256(content).hexdigest()],
            "style": row.style if words else [PurePosixPath(row.style).name, self._digest(row.style)],
            "method": row.method,
            "settings": json.loads(row.settings),
            "files": _digests_of_files(json.loads(row.settings)),
            "seed": row.seed,
            "format": self.ending,
            "model": self._model,
        }
        request = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        alike: Hashable = (row.method, row.settings, row.style, row.seed, size)
        return Prepared(row, content, request, alike)

    def most_together(self, prepared: Prepared) -> int:
        """How many contents share a pass."""
        return self._method(prepared.row.method, prepared.row.settings).batch

    def make(self, together: Sequence[Prepared]) -> list[Made]:
        """The pictures of contents that share a pass."""
        row = together[0].row
        method = self._method(row.method, row.settings)
        self._enter(tuple(each.request for each in together) if method.batch > 1 else ())
        contents = [picture_of_bytes(each.content, PurePosixPath(each.row.content).name) for each in together]
        style = self._style(row.style, method)
        return [self._made(each) for each in self._studio.stylize_all(contents, style, row.seed, method)]

    def sentence(self, error: Exception) -> str:
        """What an error means to the user."""
        return sentence(error)

    def _configured(self, name: str, settings: str) -> Method:
        method = configured(name, settings_of_text(settings))
        asked = self._given.batch
        return wider(method, asked) if asked and method.batch > 1 else method

    def _enter(self, company: tuple[str, ...]) -> None:
        """Take the cache that these contents share: that of methods without batches lasts."""
        if not company:
            self._studio.cache = self._lasting
        elif company != self._company:
            self._studio.cache, self._company = Cache(), company

    def _style(self, text: str, method: Method) -> Style:
        if text.startswith(TEXT_STYLE):
            return text_style(text.removeprefix(TEXT_STYLE), method)
        if text.endswith(STYLE_FILE):
            return self._styles.get_or_compute(text, lambda: replace(_style_of(_input(text)), name=Path(text).stem))
        fitted = (method.style_method, *method.style_view, dict(method.fit_settings), self._digest(text))
        key = hashlib.sha256(repr([*fitted, PurePosixPath(text).name, self._model]).encode()).hexdigest()
        return self._styles.get_or_compute(key, lambda: self._fitted(key, text, method))

    def _fitted(self, key: str, url: str, method: Method) -> Style:
        """A style as some worker fitted and kept it, or fitted now."""
        name = f"{FITTED}/{key}{STYLE_FILE}"
        kept = self._given.place.read(name)
        if kept is None:
            picture = picture_of_bytes(_input(url), PurePosixPath(url).name)
            style = fit_style(method, [picture], picture.name, self._studio.context())
            kept = _bytes_of(replace(style, card=_without_costs(style.card)))
            self._given.place.write(name, kept)
        return _style_of(kept)

    def _made(self, result: Stylization) -> Made:
        manifest = {**_without_costs(result.manifest), "scores": _without_costs(result.scores)}
        with tempfile.TemporaryDirectory() as folder:
            file = save_picture(result.picture, Path(folder) / f"picture{self.ending}", manifest, result.alpha)
            return Made(file.read_bytes(), *(float(result.manifest[name]) for name in COSTS))


def _without_costs(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in COSTS}


def wider(method: Method, batch: int) -> Method:
    """The same method with another number of contents that share a pass."""
    kind = type(method)
    own = type(kind.__name__, (kind,), {"batch": batch, "__doc__": kind.__doc__})
    changed: Method = own(**{each.name: getattr(method, each.name) for each in fields(method)})
    return changed


def _input(url: str) -> bytes:
    return read_input(url, MAX_BYTES, Patience())


def _digests_of_files(settings: Mapping[str, Any]) -> list[str]:
    """The hashes of the files that settings name."""
    paths = (Path(text) for text in _texts(settings))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()]


def _texts(settings: Mapping[str, Any]) -> list[str]:
    return [value for value in settings.values() if isinstance(value, str) and value]


def _model_state(model: str) -> str:
    """The states of a model's files on this machine; "" where it has none, as one of the hub."""
    known = short_names().get(model)
    path = Path(known.place if known else model)
    return "".join(file_state(file) for file in (path, *sorted(path.rglob("*"))))


def _bytes_of(style: Style) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        style.save(Path(folder) / f"style{STYLE_FILE}")
        return (Path(folder) / f"style{STYLE_FILE}").read_bytes()


def _style_of(data: bytes) -> Style:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"style{STYLE_FILE}"
        file.write_bytes(data)
        return Style.load(file)
