"""The shell of a method: it sizes, batches and composes; a method fits (``fit``) and runs (``_run``)."""

from __future__ import annotations

import io
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from PIL import Image
from torch import Tensor

from velatura.errors import SettingError
from velatura.methods.adapters.control import WHOLE, Part
from velatura.methods.adapters.controlling import controlled
from velatura.methods.adapters.joining import check_adapters, joined
from velatura.methods.adapters.settings import AdapterSettings
from velatura.methods.colours import with_colours
from velatura.methods.context import RunContext
from velatura.methods.cost import Cost
from velatura.methods.empty_regions import run_where_shown
from velatura.methods.finite_results import check_finite_result
from velatura.methods.fitting import check_fit_settings
from velatura.methods.memory import check_memory
from velatura.methods.provenance import computed_on, versions
from velatura.methods.shared_settings import SharedSettings
from velatura.methods.tiling.repainting import check_paints_tiles, picture_of
from velatura.methods.validation import check_settings
from velatura.models.backbone import Backbone
from velatura.picture import Picture, image_to_pixels, pixels_to_image, plan_size, save_picture
from velatura.picture.writing import free_path
from velatura.regions import Placement, Region
from velatura.style import Style, check_styles

log = logging.getLogger("velatura")

Size = tuple[int, int]
M = TypeVar("M", bound="Method")


@dataclass(frozen=True)
class Stylization:
    """A result: the ``picture`` at the content's size, intermediate pictures (``layers``) by name, ``scores``, and the
    ``manifest`` with all that is needed to make it again.
    """

    picture: Image.Image
    alpha: Image.Image | None
    layers: Mapping[str, Image.Image] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, sidecar: bool = False, force: bool = False) -> Path:
        """Write the picture with its manifest inside, and beside it with ``sidecar``; the ending gives the format.

        Returns where it is: an existing file is kept, and the picture gets the next free number, unless ``force``
        replaces it. Raises PictureError for an unknown ending or a place that cannot be written.
        """
        target = Path(path) if force else free_path(Path(path))
        if target != Path(path):
            log.warning("%s exists: the picture goes to %s (force=True replaces it).", path, target)
        return save_picture(self.picture, target, self.manifest, self.alpha, sidecar)

    def _repr_png_(self) -> bytes:
        """The picture as a notebook shows it."""
        buffer = io.BytesIO()
        self.picture.save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class WorkingPicture:
    """A content as a method works on it: at the working size (width, height), with the regions placed in it; ``part``
    is what it shows of the whole.
    """

    picture: Picture
    size: Size
    placement: Placement
    part: Part = WHOLE

    def pixels(self) -> Tensor:
        """(1, 3, H, W) in [-1, 1] at the working size."""
        return image_to_pixels(self.picture.image, self.size)


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a method's run makes of one content: pixels (1, 3, H, W), layers, scores, and entries of the manifest."""

    pixels: Tensor
    layers: Mapping[str, Image.Image] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method(AdapterSettings, SharedSettings, ABC):
    """Settings of one method; frozen. What a method can do it declares in its class variables.

    ``style_method`` names the method whose fitted styles it takes. ``regions`` says whether it takes regions,
    ``text_styles`` whether styles in words, ``mixes`` whether several with weights, ``needs_picture_words`` whether
    it needs a model that reads pictures as words, ``needs_fast_adapter`` whether one with a fast adapter, ``batch`` how
    many contents of one size share its passes, ``bytes_per_pixel`` about what memory a run takes on the house model for
    each pixel, ``final_bytes_per_pixel`` what one content takes beside that at the end, ``layout`` where the command
    line puts results ("flat" or "paper"), ``presets`` are named settings.
    """

    name: ClassVar[str]
    style_method: ClassVar[str]
    regions: ClassVar[bool] = False
    text_styles: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    needs_picture_words: ClassVar[bool] = False
    needs_fast_adapter: ClassVar[bool] = False
    batch: ClassVar[int] = 1
    bytes_per_pixel: ClassVar[int] = 300  # of a run's peak on house, at 768 px in fp32: 260 to 310 were measured
    final_bytes_per_pixel: ClassVar[int] = 0
    layout: ClassVar[str] = "flat"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}  # settings by their former names, for one version
    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # by setting, by their former names
    added: ClassVar[Mapping[str, Any]] = {}  # settings that older manifests lack, as they were then

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on."""
        return {}

    def resolved(self: M, backbone: Backbone, styles: Sequence[Style] = ()) -> M:
        """With the model's recommendations for ``styles``, or the paper's values, where nothing was set."""
        return self

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model that the method cannot run on."""
        return None

    @abstractmethod
    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Learn a style from one picture, white in ``mask`` where it counts; resumed from ``checkpoint``."""

    @abstractmethod
    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[Any]) -> list[RunResult]:
        """Stylise contents of one working size; their placements hold the styles."""

    def _runs(self, contents: Sequence[WorkingPicture], context: RunContext[Any]) -> list[RunResult]:
        """``_controlled_run``, or however else a method works on the parts of contents."""
        return self._controlled_run(contents, context)

    def _controlled_run(self, contents: Sequence[WorkingPicture], context: RunContext[Any]) -> list[RunResult]:
        """``_run``, held to the contents' forms by the ControlNet that the settings name, if any."""
        with controlled(self, contents, context) as inner:
            return self._run(contents, inner)

    def mix(self, styles: Sequence[tuple[Style, float]]) -> Style:
        """One style from several with weights. Raises SettingError where the method cannot mix, and for bad weights."""
        if len(styles) != 1:
            raise SettingError(f"The method {self.name} cannot mix styles: give it one.")
        ((style, weight),) = styles
        if not 0 < weight < math.inf:
            raise SettingError(f"The weight of the style {style.name} must be finite and more than 0, not {weight:g}.")
        return style

    def working_size(self, size: Size, backbone: Backbone) -> Size:
        """The size (width, height) at which a content of ``size`` is worked on."""
        asked = int(getattr(self, "size", 0))
        return plan_size(size, asked or backbone.native_size, backbone.multiple).working

    def place(self, regions: Sequence[Region], content: Picture) -> Placement:
        """The regions' masks in a content."""
        return Placement.of(regions, content)

    def stylize(
        self, contents: Sequence[Picture], regions: Sequence[Region], context: RunContext[Backbone]
    ) -> list[Stylization]:
        """Put the regions' styles on contents; where no region is, the content's own bytes stay.

        Contents of one working size run together, at most ``batch`` at a time. Raises StyleError for a style of another
        method or model, SettingError for regions where the method takes none, for a size that needs more memory than is
        free and for a result that is not finite, ModelError for an unsuitable model.
        """
        resolved = self.resolved(context.backbone, [region.style for region in regions])
        names = [setting.name for setting in fields(self)]
        advised = {"recommended": [name for name in names if getattr(self, name) != getattr(resolved, name)]}
        method = resolved.in_asked_colours()
        method.check_run(len(contents), context)
        method._check_regions(regions, context.backbone)
        method.check_shared(method.name, regions)
        check_fit_settings(self, [region.style for region in regions])
        with joined(method, regions, context) as adapters:
            made = method._stylizations(contents, regions, context)
        return [replace(each, manifest={**each.manifest, **advised, **adapters}) for each in made]

    def check_run(self, contents: int, context: RunContext[Backbone]) -> None:
        """Raise SettingError or ModelError for what no run on so many ``contents`` can be, whatever the style.

        It is asked before a fit that a run needs, and before the run.
        """
        self.check_shared(self.name)
        self.check_backbone(context.backbone)
        check_paints_tiles(self)
        check_adapters(self, contents, context)

    def _stylizations(
        self, contents: Sequence[Picture], regions: Sequence[Region], context: RunContext[Backbone]
    ) -> list[Stylization]:
        results: dict[int, Stylization] = {}
        for size, indices in self._batches(contents, context.backbone):
            check_memory(size, len(indices) * self.bytes_per_pixel + self.final_bytes_per_pixel, context.backbone)
            working = [WorkingPicture(contents[i], size, self.place(regions, contents[i])) for i in indices]
            cost = Cost(context.backbone)
            runs = run_where_shown(working, lambda shown: self._runs(shown, context), RunResult)
            shares = {"unet_evaluations": cost.evaluations / len(working), "seconds": cost.seconds / len(working)}
            for index, content, run in zip(indices, working, runs, strict=True):
                made = self._stylization(content, run, shares, context)
                place = {"batch": [indices.index(index), len(indices)]}  # the last bits depend on who shares a pass
                results[index] = replace(made, manifest={**made.manifest, **place})
        return [results[index] for index in range(len(contents))]

    def _check_regions(self, regions: Sequence[Region], backbone: Backbone) -> None:
        if not regions:
            raise SettingError("There is no region: give at least one.")
        if not self.regions and (len(regions) != 1 or not regions[0].is_whole):
            raise SettingError(f"The method {self.name} has no regions yet: give it one style for the whole picture.")
        check_styles([region.style for region in regions], self.style_method, backbone.fingerprint, backbone.name)

    def _batches(self, contents: Sequence[Picture], backbone: Backbone) -> Iterator[tuple[Size, list[int]]]:
        """Indices of contents by working size, at most ``batch`` of them at a time."""
        by_size: dict[Size, list[int]] = {}
        for index, content in enumerate(contents):
            by_size.setdefault(self.working_size(content.size, backbone), []).append(index)
        for size, indices in by_size.items():
            for first in range(0, len(indices), self.batch):
                yield size, indices[first : first + self.batch]

    def _stylization(
        self, content: WorkingPicture, run: RunResult, spent: Mapping[str, float], context: RunContext[Backbone]
    ) -> Stylization:
        """The picture at the content's size, over the content where regions leave some of it, and its manifest."""
        check_finite_result(run.pixels, self, content.picture.name)
        placement, cost = content.placement, Cost(context.backbone)
        picture = self._picture(content, run, context)
        spent = cost.added_to(spent)
        layers = dict(run.layers)
        if not all(region.is_whole for region in placement.regions):
            picture = placement.paste(picture, content.picture.image)
            layers |= placement.layers()
        scores = {**run.scores, "unet_evaluations": spent["unet_evaluations"]}
        manifest = {**self._manifest(content, context), **run.manifest, "scores": scores, **spent}
        return Stylization(picture, content.picture.alpha, layers, scores, manifest)

    def _picture(self, content: WorkingPicture, run: RunResult, context: RunContext[Backbone]) -> Image.Image:
        """The run's picture at the content's size, in the asked colours; the content where no region shows."""
        if content.placement.is_empty:
            return content.picture.image
        return picture_of(self, content, self._final_pixels(content, run.pixels, context), context)

    def _final_pixels(self, content: WorkingPicture, pixels: Tensor, context: RunContext[Any]) -> Tensor:
        """A run's pixels (1, 3, H, W) in the asked colours."""
        return with_colours(pixels, content.pixels(), content.placement, self.colour_share)

    def to_image(self, pixels: Tensor, size: Size) -> Image.Image:
        """Pixels (1, 3, H, W) as a picture of ``size`` (width, height)."""
        return pixels_to_image(pixels, size)

    def _manifest(self, content: WorkingPicture, context: RunContext[Backbone]) -> dict[str, Any]:
        style = content.placement.regions[0].style
        return {
            "method": self.name,
            "model": context.backbone.name,
            "model_fingerprint": context.backbone.fingerprint,
            "settings": asdict(self) | context.given.as_settings(),
            "seed": context.seed,
            "working_size": list(content.size),
            "content": {"name": content.picture.name, "sha256": content.picture.digest, "file": content.picture.file},
            "style": {"name": style.name, "sha256": style.card.get("sha256", "")},
            "regions": content.placement.description(),
            "versions": versions(),
            "computed_on": computed_on(context.backbone),
        }
