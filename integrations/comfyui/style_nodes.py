"""The nodes that give a style: from the library, fitted, in words, mixed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from torch import Tensor

from velatura import Studio
from velatura.app.home import styles_folder
from velatura.app.studio import check_mixes, text_style
from velatura.errors import SettingError, StyleError
from velatura.picture import Picture
from velatura.registry import METHODS, method_class
from velatura.style import Style, StyleLibrary
from velatura.style.masked import only_inside

from .calling import as_node
from .conversion import masks_of, pictures_of_image
from .kept_fits import keep, kept_fit, request_of
from .settings import CATEGORY, SETTINGS, Inputs, method_of

Graph = Mapping[str, Mapping[str, Any]]


class LoadStyle:
    """A style from the library, by name."""

    RETURN_TYPES = ("VELATURA_STYLE",)
    RETURN_NAMES = ("style",)
    FUNCTION = "load"
    CATEGORY = CATEGORY
    DESCRIPTION = "Styles that were fitted before; the file is read again when it is another one."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {"required": {"model": ("VELATURA_MODEL",), "name": ("STRING", {"default": "dusk"})}}

    @classmethod
    def IS_CHANGED(cls, name: str | None = None, **_: Any) -> str:  # noqa: N802
        """The SHA-256 of the style's file; empty where there is none, which ``load`` says."""
        try:
            return hashlib.sha256(StyleLibrary(styles_folder()).path(str(name)).read_bytes()).hexdigest()
        except (OSError, StyleError):
            return ""

    @as_node
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
                "mask": ("MASK", {"tooltip": "white is what counts of the picture; one for all, or one for each"}),
                "name": ("STRING", {"default": "", "tooltip": "empty: not kept in the library"}),
                "settings": SETTINGS,
                "replace": ("BOOLEAN", {"default": False, "tooltip": "put it over another style of that name"}),
            },
            "hidden": {"prompt": "PROMPT", "unique_id": "UNIQUE_ID"},  # type: ignore[dict-item]
        }

    @as_node
    def fit(  # noqa: PLR0913
        self,
        model: Studio,
        image: Tensor,
        method: str,
        mask: Tensor | None = None,
        name: str = "",
        settings: str = "",
        replace: bool = False,
        prompt: Graph | None = None,
        unique_id: str = "1",
    ) -> tuple[Style]:
        chosen, name = method_of(method, settings), name.strip()
        own = name or name_of_source(prompt or {}, unique_id)
        pictures, inside = pictures_inside(pictures_of_image(image, own), mask)
        if not name:
            return (model.fit([*pictures], own, chosen, inside),)
        request = request_of(chosen, pictures, inside, model)
        style = kept_fit(model.library, name, request, replace)
        if style is None:
            style = model.fit([*pictures], name, chosen, inside)
            keep(model.library, style, request)
        return (style,)


class StyleInWords:
    """A style that is said, not shown."""

    RETURN_TYPES = ("VELATURA_STYLE",)
    RETURN_NAMES = ("style",)
    FUNCTION = "say"
    CATEGORY = CATEGORY
    DESCRIPTION = "CLIP compares the picture with the words, so that it needs a model with prompts."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        methods = [method for method in METHODS if method_class(method).text_styles]
        text = ("STRING", {"default": "a sketch with crayon", "multiline": True})
        return {"required": {"text": text, "method": (methods,)}}

    @as_node
    def say(self, text: str, method: str) -> tuple[Style]:
        if not text.strip():
            raise SettingError("The style in words has no words: write some, as 'a sketch with crayon'.")
        return (text_style(text.strip(), method_class(method)()),)


class MixStyles:
    """Two styles in one, by their weights; a mix can be mixed again."""

    RETURN_TYPES = ("VELATURA_STYLE",)
    RETURN_NAMES = ("style",)
    FUNCTION = "mix"
    CATEGORY = CATEGORY
    DESCRIPTION = "Only the weights' ratio counts; both styles are of one method, which can mix."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        style, weight = ("VELATURA_STYLE",), ("FLOAT", {"default": 0.5, "min": 0.0, "max": 100.0, "step": 0.05})
        return {"required": {"style1": style, "weight1": weight, "style2": style, "weight2": weight}}

    @as_node
    def mix(self, style1: Style, weight1: float, style2: Style, weight2: float) -> tuple[Style]:
        method = method_class(style1.method)()
        check_mixes(method, 2)
        return (method.mix([(style1, weight1), (style2, weight2)]),)


def name_of_source(graph: Graph, node: str) -> str:
    """What an unnamed style is called: as the picture's file where its image comes from one, else by its node's number.

    >>> name_of_source({"2": {"inputs": {"image": "a/wave.png"}}, "4": {"inputs": {"image": ["2", 0]}}}, "4")
    'wave'
    """
    link = graph.get(node, {}).get("inputs", {}).get("image")
    source = graph.get(str(link[0]), {}) if isinstance(link, list) else {}
    file = source.get("inputs", {}).get("image")
    return PurePath(file).stem if isinstance(file, str) and file else f"style {node}"


def pictures_inside(pictures: list[Picture], mask: Tensor | None) -> tuple[list[Picture], Picture | None]:
    """The pictures to fit, and the mask of a single one; of several each shows only what is white in its mask.

    Raises SettingError for another number of masks, StyleError for one of several that is black everywhere.
    """
    if mask is None:
        return pictures, None
    masks = [Picture.of(each, "mask") for each in masks_of(mask, len(pictures), "Fit Style")]
    if len(pictures) == 1:
        return pictures, masks[0]
    each = masks * len(pictures) if len(masks) == 1 else masks
    return [Picture.of(only_inside(p, m), p.name) for p, m in zip(pictures, each, strict=True)], None
