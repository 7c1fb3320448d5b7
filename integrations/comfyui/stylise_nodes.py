"""The nodes that put styles on pictures: Region, Stylise and Strength Sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from velatura import Studio
from velatura.app.options import parse_strengths
from velatura.errors import SettingError
from velatura.methods.base import Stylization
from velatura.regions import Region as PlacedRegion
from velatura.regions.query import ImageQuery
from velatura.registry import METHODS
from velatura.span import Span
from velatura.style import Style

from .calling import as_node
from .conversion import check_masks, image_of_pictures, mask_pictures, pictures_of_image
from .progress import NodeProgress
from .settings import CATEGORY, LOSSES, PRESET, SETTINGS, Inputs, method_of

AS_FITTED = "as fitted"  # the method that a style was fitted for
Regions = Sequence[tuple[PlacedRegion, ...]]  # of each region one for all pictures of a batch, or one for each


class Region:
    """A style in a mask, during part of the run; chained, later regions lie over earlier ones."""

    RETURN_TYPES = ("VELATURA_REGIONS",)
    RETURN_NAMES = ("regions",)
    FUNCTION = "place"
    CATEGORY = CATEGORY
    DESCRIPTION = "White is where the style goes; elsewhere the picture stays as it is."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        share = {"min": 0.0, "max": 1.0, "step": 0.05}
        return {
            "required": {
                "style": ("VELATURA_STYLE",),
                "mask": ("MASK", {"tooltip": "one for all pictures of a batch, or one for each"}),
                "weight": ("FLOAT", {"default": 1.0, **share}),
                "start": ("FLOAT", {"default": 0.0, **share}),
                "end": ("FLOAT", {"default": 1.0, **share}),
            },
            "optional": {"regions": ("VELATURA_REGIONS",)},
        }

    @as_node
    def place(
        self, style: Style, mask: Tensor, weight: float, start: float, end: float, regions: Regions = ()
    ) -> tuple[Regions]:
        span = Span(start, end)
        placed = tuple(PlacedRegion(style, ImageQuery(each), weight, span) for each in mask_pictures(mask))
        return ([*regions, placed],)


STYLISE_INPUTS: Mapping[str, Any] = {
    "model": ("VELATURA_MODEL",),
    "image": ("IMAGE",),
    "method": ([AS_FITTED, *METHODS],),
    "steps": ("INT", {"default": -1, "min": -1, "max": 1000, "tooltip": "-1: the method's own"}),
    "seed": ("INT", {"default": 0, "min": 0, "max": 2**63 - 1}),
}
STYLISE_OPTIONAL: Mapping[str, Any] = {
    "style": ("VELATURA_STYLE", {"tooltip": "for the whole picture"}),
    "regions": ("VELATURA_REGIONS", {"tooltip": "or parts of it"}),
    "settings": SETTINGS,
    "losses": LOSSES,
    "preset": PRESET,
}


def connected(style: Style | None, regions: Regions) -> Regions:
    """The style for the whole picture and the regions over it. Raises SettingError for neither."""
    chosen = [*([(PlacedRegion(style),)] if style is not None else []), *regions]
    if not chosen:
        raise SettingError("Connect a style, or regions: there is nothing to stylise with.")
    return chosen


def stylised(
    model: Studio,
    image: Tensor,
    method: str,
    seed: int,
    chosen: Regions,
    numbers: Mapping[str, tuple[str, float]],
    **texts: str,
) -> list[Stylization]:
    """Results for all pictures of a batch, previewed while they are made; ``numbers`` and ``texts`` are those of
    ``method_of``.
    """
    name = chosen[0][0].style.method if method == AS_FITTED else method
    configuration = method_of(name, **texts, numbers={"seed": ("seed", -1), **numbers})
    pictures = pictures_of_image(image, "content")
    for each in chosen:
        check_masks(len(each), len(pictures), "A region")
    progress = model.progress
    assert isinstance(progress, NodeProgress)
    if all(len(each) == 1 for each in chosen):
        shared = [each[0] for each in chosen]
        return configuration.stylize(pictures, shared, model.context(seed, progress.preview))
    made = []
    for index, picture in enumerate(pictures):
        own = [each[index % len(each)] for each in chosen]
        made += configuration.stylize([picture], own, model.context(seed, progress.preview))
    return made


class Stylise:
    """Put a style on every picture of a batch, everywhere or in regions, with a preview of each step."""

    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "manifest")
    FUNCTION = "stylise"
    CATEGORY = CATEGORY
    DESCRIPTION = "strength: the share of the steps that is run; 0 is the photo, 1 forgets it, -1 the method's own."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        strength = ("FLOAT", {"default": -1.0, "min": -1.0, "max": 1.0, "step": 0.05})
        return {"required": {**STYLISE_INPUTS, "strength": strength}, "optional": dict(STYLISE_OPTIONAL)}

    @as_node
    def stylise(
        self, steps: int, strength: float, style: Style | None = None, regions: Regions = (), **given: Any
    ) -> tuple[Tensor, str]:
        numbers = {"steps": ("steps", steps), "strength": ("strength", strength)}
        made = stylised(chosen=connected(style, regions), numbers=numbers, **given)
        manifests = json.dumps([result.manifest for result in made], indent=1, default=str)
        return image_of_pictures([result.picture for result in made]), manifests


class Sweep:
    """Every picture of a batch at several strengths, as a batch."""

    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "sweep"
    CATEGORY = CATEGORY
    DESCRIPTION = "The inversion of a picture is computed once for all strengths where the method allows."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        strengths = ("STRING", {"default": "0.2,0.4,0.6"})
        return {"required": {**STYLISE_INPUTS, "strengths": strengths}, "optional": dict(STYLISE_OPTIONAL)}

    @as_node
    def sweep(
        self, steps: int, strengths: str, style: Style | None = None, regions: Regions = (), **given: Any
    ) -> tuple[Tensor]:
        asked = [strength for strength in parse_strengths(strengths, "strengths") if strength is not None]
        check_strengths(asked)
        made = []
        for strength in asked:
            numbers = {"steps": ("steps", steps), "strength": ("strengths", strength)}
            made.append(stylised(chosen=connected(style, regions), numbers=numbers, **given))
        return (torch.cat([image_of_pictures([each.picture for each in results]) for results in made]),)


def check_strengths(strengths: Sequence[float]) -> None:
    """Raise SettingError, before anything is computed, for a strength that is none."""
    for strength in strengths:
        if not 0 <= strength <= 1:
            raise SettingError(f"Each of the strengths must be from 0 to 1, not {strength:g}.")
