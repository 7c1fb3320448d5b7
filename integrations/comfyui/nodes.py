"""The nodes: each calls a Studio, and hands on ComfyUI's own IMAGE and MASK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from velatura import Studio
from velatura.app.options import parse_settings, parse_strengths
from velatura.app.studio import configured
from velatura.methods.base import Stylization
from velatura.picture import Picture
from velatura.regions import Region as PlacedRegion
from velatura.regions.query import ImageQuery
from velatura.registry import METHODS
from velatura.span import Span
from velatura.style import Style

from .conversion import image_of_pictures, mask_pictures, pictures_of_image
from .progress import NodeProgress, with_gradients

CATEGORY = "Velatura"
AS_FITTED = "as fitted"  # the method that a style was fitted for
SETTINGS = ("STRING", {"default": "", "multiline": True, "tooltip": "NAME=VALUE, one a line: velatura settings METHOD"})
SEED = ("INT", {"default": 0, "min": 0, "max": 2**63 - 1})
Inputs = dict[str, dict[str, tuple[Any, ...]]]


def settings_of(method: str, text: str, **more: Any) -> dict[str, Any]:
    """A method's settings from lines of NAME=VALUE; numbers in ``more`` below 0 are the method's own."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return parse_settings(method, lines, None)[1] | {name: value for name, value in more.items() if value >= 0}


class LoadModel:
    """A model: house, a short name, a folder, a file or a hub id."""

    RETURN_TYPES = ("VELATURA_MODEL",)
    RETURN_NAMES = ("model",)
    FUNCTION = "load"
    CATEGORY = CATEGORY
    DESCRIPTION = "house comes with the package; others are diffusers folders, files or hub ids."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802 (ComfyUI's name)
        return {
            "required": {
                "model": ("STRING", {"default": "house"}),
                "device": (["auto", "cpu", "cuda", "mps"],),
                "dtype": (["auto", "fp32", "bf16", "fp16"],),
            }
        }

    @with_gradients
    def load(self, model: str, device: str, dtype: str) -> tuple[Studio]:
        studio = Studio(model, device, dtype, progress=NodeProgress())
        assert studio.backbone  # loaded now: an error belongs to this node
        return (studio,)


class LoadStyle:
    """A style from the library, by name."""

    RETURN_TYPES = ("VELATURA_STYLE",)
    RETURN_NAMES = ("style",)
    FUNCTION = "load"
    CATEGORY = CATEGORY
    DESCRIPTION = "Styles that were fitted before; a name is read when the graph runs."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {"required": {"model": ("VELATURA_MODEL",), "name": ("STRING", {"default": "dusk"})}}

    @classmethod
    def IS_CHANGED(cls, name: str, **_: Any) -> float:  # noqa: N802
        return float("nan")  # the library's file may be another one now

    @with_gradients
    def load(self, model: Studio, name: str) -> tuple[Style]:
        return (model.library.load(name),)


class FitStyle:
    """A style fitted to one picture, or to all pictures of a batch; kept in the library where it has a name."""

    RETURN_TYPES = ("VELATURA_STYLE",)
    RETURN_NAMES = ("style",)
    FUNCTION = "fit"
    CATEGORY = CATEGORY
    DESCRIPTION = "guided, styleid and fast take a moment, s2prest a minute, diffstyler minutes."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {
            "required": {"model": ("VELATURA_MODEL",), "image": ("IMAGE",), "method": (list(METHODS),)},
            "optional": {
                "mask": ("MASK", {"tooltip": "white is what counts of the picture"}),
                "name": ("STRING", {"default": "", "tooltip": "empty: not kept in the library"}),
                "settings": SETTINGS,
            },
        }

    @with_gradients
    def fit(
        self,
        model: Studio,
        image: Tensor,
        method: str,
        mask: Tensor | None = None,
        name: str = "",
        settings: str = "",
    ) -> tuple[Style]:
        chosen = None if mask is None else mask_pictures(mask)[0]
        asked = settings_of(method, settings)
        style = model.fit([*pictures_of_image(image, "style")], name or "style", method, chosen, **asked)
        if name:
            model.library.add(style)
        return (style,)


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
                "mask": ("MASK",),
                "weight": ("FLOAT", {"default": 1.0, **share}),
                "start": ("FLOAT", {"default": 0.0, **share}),
                "end": ("FLOAT", {"default": 1.0, **share}),
            },
            "optional": {"regions": ("VELATURA_REGIONS",)},
        }

    @with_gradients
    def place(
        self,
        style: Style,
        mask: Tensor,
        weight: float,
        start: float,
        end: float,
        regions: Sequence[PlacedRegion] = (),
    ) -> tuple[list[PlacedRegion]]:
        query = ImageQuery(mask_pictures(mask)[0])
        return ([*regions, PlacedRegion(style, query, weight, Span(start, end))],)


STYLISE_INPUTS: Mapping[str, Any] = {
    "model": ("VELATURA_MODEL",),
    "image": ("IMAGE",),
    "method": ([AS_FITTED, *METHODS],),
    "steps": ("INT", {"default": -1, "min": -1, "max": 1000, "tooltip": "-1: the method's own"}),
    "seed": SEED,
}
STYLISE_OPTIONAL: Mapping[str, Any] = {
    "style": ("VELATURA_STYLE", {"tooltip": "for the whole picture"}),
    "regions": ("VELATURA_REGIONS", {"tooltip": "or parts of it"}),
    "settings": SETTINGS,
}


def stylised(
    model: Studio,
    image: Tensor,
    method: str,
    seed: int,
    placed: tuple[Style | None, Sequence[PlacedRegion]],
    settings: str,
    **more: Any,
) -> list[Stylization]:
    """Results for all pictures of a batch, previewed while they are made."""
    style, regions = placed
    chosen = [*([PlacedRegion(style)] if style is not None else []), *regions]
    if not chosen:
        raise ValueError("Connect a style, or regions: there is nothing to stylise with.")
    name = chosen[0].style.method if method == AS_FITTED else method
    configuration = configured(name, settings_of(name, settings, **more))
    pictures: list[Picture] = pictures_of_image(image, "content")
    progress = model.progress
    assert isinstance(progress, NodeProgress)
    return configuration.stylize(pictures, chosen, model.context(seed, progress.preview))


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

    @with_gradients
    def stylise(  # noqa: PLR0913
        self,
        model: Studio,
        image: Tensor,
        method: str,
        steps: int,
        seed: int,
        strength: float,
        style: Style | None = None,
        regions: Sequence[PlacedRegion] = (),
        settings: str = "",
    ) -> tuple[Tensor, str]:
        made = stylised(model, image, method, seed, (style, regions), settings, steps=steps, strength=strength)
        manifests = json.dumps([result.manifest for result in made], indent=1, default=str)
        return image_of_pictures([result.picture for result in made]), manifests


class Sweep:
    """One picture at several strengths, as a batch."""

    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "sweep"
    CATEGORY = CATEGORY
    DESCRIPTION = "The inversion of a picture is computed once for all strengths where the method allows."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        strengths = ("STRING", {"default": "0.2,0.4,0.6"})
        return {"required": {**STYLISE_INPUTS, "strengths": strengths}, "optional": dict(STYLISE_OPTIONAL)}

    @with_gradients
    def sweep(  # noqa: PLR0913
        self,
        model: Studio,
        image: Tensor,
        method: str,
        steps: int,
        seed: int,
        strengths: str,
        style: Style | None = None,
        regions: Sequence[PlacedRegion] = (),
        settings: str = "",
    ) -> tuple[Tensor]:
        asked = [strength for strength in parse_strengths(strengths) if strength is not None]
        made = [
            stylised(model, image, method, seed, (style, regions), settings, steps=steps, strength=strength)
            for strength in asked
        ]
        return (torch.cat([image_of_pictures([each.picture for each in results]) for results in made]),)
