"""S2PreST in tiles of a picture at its full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import Predict
from velatura.methods.base import WorkingPicture
from velatura.methods.s2prest.conditioned import Context
from velatura.methods.s2prest.style import S2PreSTStyle

if TYPE_CHECKING:
    from velatura.methods.s2prest.method import S2PreST


def tile_noise(method: S2PreST, content: WorkingPicture, context: Context) -> Predict:
    """The prediction under the whole picture's condition c."""
    style = S2PreSTStyle.of(content.placement.regions[0].style)
    conditions = method.conditions(method.prepare([content], style, context), style, context)
    return conditional(context.backbone, method.condition(conditions))
