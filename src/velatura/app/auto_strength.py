"""--strength auto: three results that share an inversion, of which the knee of content against style is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from PIL import Image
from torch import Tensor

from velatura.errors import SettingError
from velatura.evaluation.strength import Tried, knee, tried, tried_strengths
from velatura.methods.base import Method, Stylization
from velatura.methods.context import RunContext
from velatura.models.backbone import Backbone
from velatura.picture import Picture, image_to_pixels, plan_size
from velatura.regions import Region
from velatura.style import Style
from velatura.style.pictures import weighted_pictures

MEASURED_SIDE = 256  # pixels of the short side at which results are measured: enough for edges and strokes
NOTE = "auto_strength"  # in a manifest: what was tried


def stylize_at_knee(
    method: Method, contents: Sequence[Picture], style: Style, context: RunContext[Backbone]
) -> list[Stylization]:
    """Each content at the strength, of three about the method's own, where content and style together score most.

    The manifest names the strength as if it had been given, and under "auto_strength" what was tried. Raises
    SettingError for a style without a picture. The inversion is shared by strengths that start from the same latents:
    below 0.5 guided and s2prest start with less of the style's palette.
    """
    own = float(getattr(method.resolved(context.backbone), "strength", 0.0))
    if not own:
        raise SettingError("The model recommends a strength of 0: give --strength a number instead of auto.")
    pictures = [(_pixels(image), share) for image, share in weighted_pictures(style)]
    if not pictures:
        raise SettingError(f"The style '{style.name}' has no picture to measure results by: give --strength a number.")
    settings: list[dict[str, Any]] = [{"strength": strength} for strength in tried_strengths(own)]
    runs = [replace(method, **each).stylize(contents, [Region(style)], context) for each in settings]
    strengths = [float(each["strength"]) for each in settings]
    return [
        _chosen(content, list(zip(strengths, results, strict=True)), pictures)
        for content, *results in zip(contents, *runs, strict=True)
    ]


def check_has_strength(method: Method) -> None:
    """Raise SettingError for a method whose strength cannot be chosen, because it has none."""
    if not hasattr(method, "strength"):
        raise SettingError(f"The method {method.name} has no strength to choose: leave --strength auto out.")


def _chosen(
    content: Picture, results: Sequence[tuple[float, Stylization]], styles: Sequence[tuple[Tensor, float]]
) -> Stylization:
    """The result at the knee, with what was tried in its manifest."""
    before = _pixels(content.image)
    size = (before.shape[3], before.shape[2])
    found = [tried(strength, image_to_pixels(made.picture, size), before, styles) for strength, made in results]
    made = results[knee(found)][1]
    spent = {
        name: sum(float(each.manifest.get(name, 0)) for _, each in results) for name in ("unet_evaluations", "seconds")
    }
    return replace(made, manifest={**made.manifest, NOTE: {"tried": [_noted(each) for each in found], **spent}})


def _noted(one: Tried) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(one).items()}


def _pixels(image: Image.Image) -> Tensor:
    return image_to_pixels(image, plan_size(image.size, min(MEASURED_SIDE, *image.size), 8).working)
