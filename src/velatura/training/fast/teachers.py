"""Teachers: what is to be painted of a photo in a painting's style, in house's latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from velatura.methods.base import WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.guided.method import Guided
from velatura.models.features.magenta import style_vectors
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import Picture, pixels_to_image
from velatura.picture.palette import palette_of, transport_palette
from velatura.regions import Placement, Region
from velatura.training.made_pictures import painted_by_magenta

Teacher = Callable[[Tensor, Tensor, HouseBackbone, int], Tensor]
MAGENTAS_COLOURS = 0.5  # of the way to the style's palette that Magenta's picture goes


def magenta(photo: Tensor, painting: Tensor, backbone: HouseBackbone, seed: int) -> Tensor:
    """Latents (1, C, h, w) of what Magenta's network paints of a photo (1, 3, H, W), nearer to the style's palette."""
    painted = painted_by_magenta(photo, style_vectors(painting))
    return backbone.encode(transport_palette(painted, palette_of(painting), MAGENTAS_COLOURS))


def guided(photo: Tensor, painting: Tensor, backbone: HouseBackbone, seed: int) -> Tensor:
    """Latents (1, C, h, w) in which the guided method ends on a photo (1, 3, H, W), before any decoding."""
    return _guided_latents(Guided(), photo, painting, RunContext(backbone, seed))


def quick(photo: Tensor, painting: Tensor, backbone: HouseBackbone, seed: int) -> Tensor:
    """The same of guided's preset ``quick``, which takes half the time."""
    return _guided_latents(Guided(**Guided.presets["quick"]), photo, painting, RunContext(backbone, seed))


TEACHERS: Mapping[str, Teacher] = {"magenta": magenta, "guided": guided, "quick": quick}


def _guided_latents(method: Guided, photo: Tensor, painting: Tensor, context: RunContext[HouseBackbone]) -> Tensor:
    style = method.fit(Picture.of(pixels_to_image(painting), "painting"), "painting", context)
    content = Picture.of(pixels_to_image(photo), "photo")
    placement = Placement.of([Region(style)], content)
    working = WorkingPicture(content, content.size, placement)
    return method.resolved(context.backbone, [style]).painted(working, context).latents.detach()
