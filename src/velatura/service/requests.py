"""What clients ask for: a picture to be stylised, a style to be fitted; checked as far as can be without the model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from velatura.app.auto_strength import check_has_strength
from velatura.app.former_names import Choice, current
from velatura.app.options import AUTO
from velatura.app.studio import configured
from velatura.errors import SettingError
from velatura.methods.adapters.control import EDGES
from velatura.methods.adapters.settings import ADAPTER_FILES
from velatura.methods.base import Method
from velatura.methods.s2prest.edges import EDGE_SOURCES
from velatura.methods.validation import MAX_SEED
from velatura.registry import preset_settings

PICTURE, MASK, TEXT = "picture:", "mask:", "text:"
# Settings that on a command line may also be a file's path: what they may be here.
NO_PATHS: Mapping[str, tuple[str, ...]] = {
    "edges": EDGE_SOURCES,
    "noise_file": ("",),
    "control": tuple(EDGES),
    **dict.fromkeys(ADAPTER_FILES, ("",)),
}
STORED_MASK = re.compile(r"(not:){0,3}mask:[0-9a-f]{64}")
# What is no query would be read as a mask picture's path on the server.
QUERY = re.compile(r"(not:){0,3}((sam2|fastsam):)?(box|point|polygon|text|segment):\s*\S.*", re.DOTALL)

NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps no text with a NUL in it

PictureId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="An uploaded picture, as POST /pictures names it.")
]
StyleText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        pattern=NO_NUL,
        description="A style's name in the library, picture:ID of an uploaded picture, or text:words.",
    ),
]
Where = Annotated[
    str,
    Field(
        min_length=1,
        max_length=10_000,
        pattern=NO_NUL,
        description="mask:ID of an uploaded picture, box:x0,y0,x1,y1, point:x,y;not:x,y, polygon:x,y;x,y;x,y, "
        "segment:1,2 or text:words, with not: before it for everything else.",
    ),
]
Kept = Annotated[
    str,
    Field(
        pattern=r"^([0-9a-f]{64})?$",
        description="The SHA-256 of the copy of the library's style that a job uses. It is filled in when the job is "
        "accepted, so that its request makes the same again, whatever becomes of the style's name.",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=NO_NUL)]
Group = Annotated[str, Field(max_length=200, pattern=NO_NUL)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(max_length=2000, pattern=NO_NUL)]
Setting = bool | int | Number | Text | dict[str, Number | tuple[Number, Number]]
Settings = Annotated[
    dict[str, Setting], Field(max_length=100, description="The method's settings by name; GET /methods lists them.")
]


class Strict(BaseModel):
    """A part of a request, without fields of other names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UsedStyle(Strict):
    """A style that a request names."""

    style: StyleText
    kept: Kept = ""

    @property
    def is_of_library(self) -> bool:
        """Whether it is named by its name in the library."""
        return not self.style.startswith((PICTURE, TEXT))


class StyleShare(UsedStyle):
    """A style and its weight in a mix."""

    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0


class RegionRequest(UsedStyle):
    """A style in a part of the picture: how much of it (``weight``), and in which part of the run it acts."""

    where: Where
    weight: Share = 1.0
    start: Share = 0.0
    end: Share = 1.0


class StylizeRequest(Strict):
    """Put one style, a mix of several, or styles in regions, on a picture. ``group`` is any label, to find jobs by."""

    kind: Literal["stylize"] = "stylize"
    content: PictureId
    styles: list[StyleShare] = Field(default=[], max_length=20)
    regions: list[RegionRequest] = Field(default=[], max_length=20)
    method: str = Field(default="guided", max_length=80)
    preset: str = Field(default="", max_length=80)
    settings: Settings = {}
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    group: Group = ""

    @property
    def used_styles(self) -> tuple[UsedStyle, ...]:
        """The styles that it names, in order."""
        return (*self.styles, *self.regions)

    def with_styles(self, change: Callable[[UsedStyle], str]) -> StylizeRequest:
        """The same request with other ``kept`` copies of its styles."""
        styles = [share.model_copy(update={"kept": change(share)}) for share in self.styles]
        regions = [region.model_copy(update={"kept": change(region)}) for region in self.regions]
        return self.model_copy(update={"styles": styles, "regions": regions})


class FitRequest(Strict):
    """Fit a style to pictures and keep it in the library as ``name``."""

    kind: Literal["fit"] = "fit"
    name: Name
    pictures: list[PictureId] = Field(min_length=1, max_length=20)
    mask: PictureId | None = None
    method: str = Field(default="guided", max_length=80)
    settings: Settings = {}
    replace: bool = False
    group: Group = ""


JobRequest = Annotated[StylizeRequest | FitRequest, Field(discriminator="kind")]
REQUEST: TypeAdapter[StylizeRequest | FitRequest] = TypeAdapter(JobRequest)


def method_of(request: StylizeRequest | FitRequest) -> tuple[Method, dict[str, Any]]:
    """The method that a request asks for, and strength="auto" apart, where it asks that.

    Raises SettingError for an unknown method, preset or setting, and for values out of range.
    """
    preset = request.preset if isinstance(request, StylizeRequest) else ""
    try:
        base = dict(preset_settings(request.method, preset)) if preset else {}
        asked = base | {name: _plain(value) for name, value in request.settings.items()}
        chooses = asked.get("strength") == AUTO
        if chooses:
            del asked["strength"]
        chosen = current(Choice(request.method, asked))
        _refuse_paths(chosen.settings)
        method = configured(chosen.method, chosen.settings)
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
        # A dataclass takes a mapping for a number, and stumbles over it later.
        raise SettingError(
            f"A setting of {request.method} has a value of the wrong kind ({type(error).__name__}): GET /methods lists "
            "what each takes."
        ) from None
    if chooses:
        check_has_strength(method)
    return method, {"strength": AUTO} if chooses else {}


def _refuse_paths(settings: Mapping[str, Any]) -> None:
    """Raise SettingError for a setting that would open a file of the server's."""
    for name, allowed in NO_PATHS.items():
        if name in settings and settings[name] not in allowed:
            raise SettingError(
                f"{name} must be {' or '.join(allowed) or 'left out'} here: no file of the server is read."
            )


def _plain(value: Any) -> Any:
    """Pairs in a mapping as tuples, which the methods take for spans."""
    if isinstance(value, Mapping):
        return {name: tuple(inner) if isinstance(inner, list | tuple) else inner for name, inner in value.items()}
    return value


def check_where(where: str) -> None:
    """Raise SettingError for what is neither a mask of an uploaded picture nor a query; no path is ever one."""
    if not STORED_MASK.fullmatch(where) and not QUERY.fullmatch(where):
        raise SettingError(
            "A region must be mask:ID of an uploaded picture, box:x0,y0,x1,y1, point:x,y, polygon:x,y;x,y;x,y, "
            "segment:number or text:words, with not: before it for everything else."
        )


def pictures_of(request: StylizeRequest | FitRequest) -> list[str]:
    """The ids of the uploaded pictures that a request names."""
    if isinstance(request, FitRequest):
        return [*request.pictures, *([request.mask] if request.mask else [])]
    styles = [used.style for used in request.used_styles]
    masks = [region.where.replace("not:", "") for region in request.regions]
    named = [style.removeprefix(PICTURE) for style in styles if style.startswith(PICTURE)]
    return [request.content, *named, *(mask.removeprefix(MASK) for mask in masks if mask.startswith(MASK))]


def is_same(stored: Mapping[str, Any], asked: StylizeRequest | FitRequest) -> bool:
    """Whether a job's stored request is what is asked now; which copies of styles it keeps may be left out."""
    earlier = REQUEST.validate_python(stored)
    if isinstance(earlier, StylizeRequest):
        return asked in (earlier, earlier.with_styles(lambda _: ""))
    return asked == earlier


def batch_key(request: StylizeRequest | FitRequest, method: Method) -> str:
    """The same text for jobs that can share the model's passes: they differ in their contents only; else empty."""
    if isinstance(request, FitRequest) or request.regions or method.batch == 1:
        return ""
    text = request.model_dump_json(exclude={"content", "group"})
    return hashlib.sha256(text.encode()).hexdigest()
