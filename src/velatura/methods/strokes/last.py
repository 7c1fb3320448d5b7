"""Strokes over the result of a method that paints none itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from velatura.errors import SettingError
from velatura.methods.base import Method, WorkingPicture
from velatura.methods.colours import with_colours
from velatura.methods.context import RunContext
from velatura.methods.strokes.painting import (
    LAST_MOMENT,
    STROKES_BYTES_PER_PIXEL,
    RegionStrokes,
    strokes_of,
    with_region_strokes,
)
from velatura.methods.strokes.vectors import style_vector_of
from velatura.methods.validation import UNSET, AdvisedShare
from velatura.models.backbone import Backbone
from velatura.models.house.backbone import HouseBackbone
from velatura.models.recommended import RecommendedSettings, for_method


@dataclass(frozen=True)
class LastStrokes(Method):
    """A method whose result a model's stroke network paints over at the end, where the model brings one.

    ``strokes`` (0..1) is the share of the result that the model's stroke network paints over it at the end (less below
    strength 0.5), in each region whose style has a picture; not set, it is what the model's folder recommends, or the
    papers' 0.
    """

    added: ClassVar[Mapping[str, Any]] = {"strokes": 0.0}
    final_bytes_per_pixel: ClassVar[int] = STROKES_BYTES_PER_PIXEL

    strokes: AdvisedShare = field(default=UNSET, kw_only=True)

    def advice_of(self, backbone: Backbone) -> RecommendedSettings:
        """What a model recommends for this method: strokes only where it brings a stroke network."""
        advice = for_method(self.name, backbone.recommended_settings)
        return {name: value for name, value in advice.items() if name != "strokes" or _paints_strokes(backbone)}

    def check_run(self, contents: int, context: RunContext[Backbone]) -> None:
        """Raise SettingError or ModelError for what no run can be: strokes too, on a model without a stroke network."""
        super().check_run(contents, context)
        if self.strokes > 0 and not _paints_strokes(context.backbone):
            raise SettingError(
                f"strokes are painted by a model's stroke network, and {context.backbone.name} has none: leave strokes "
                "out."
            )

    @torch.no_grad()
    def _final_pixels(self, content: WorkingPicture, pixels: Tensor, context: RunContext[Any]) -> Tensor:
        """A run's pixels (1, 3, H, W) in the asked colours, with strokes over them.

        Strokes come last, since a later move of the palette would undo half of them (decision 23). They bring the
        style's colours: where fewer are asked for, the rest of what they change is in the content's.
        """
        coloured, placement = super()._final_pixels(content, pixels, context), content.placement
        painted = with_region_strokes(coloured, placement, self._region_strokes(content, context), self._stroke_share)
        share = 1.0 if self.colour_share is None else self.colour_share
        if share == 1 or painted is coloured:
            return painted
        own, before = (with_colours(each, content.pixels(), placement, 0.0) for each in (painted, coloured))
        return coloured + share * (painted - coloured) + (1 - share) * (own - before)

    def _region_strokes(self, content: WorkingPicture, context: RunContext[Any]) -> list[RegionStrokes | None]:
        """What paints the strokes of each region that acts at the end; nothing where none are painted."""
        regions, acting = content.placement.regions, content.placement.acting(LAST_MOMENT)
        if not self._stroke_share:
            return []
        vectors = [
            style_vector_of(region.style, context) if index in acting else None for index, region in enumerate(regions)
        ]
        return [] if all(vector is None for vector in vectors) else strokes_of(regions, vectors, context)

    def _manifest(self, content: WorkingPicture, context: RunContext[Backbone]) -> dict[str, Any]:
        manifest, house = super()._manifest(content, context), cast("HouseBackbone", context.backbone)
        painted = self._region_strokes(content, context)
        return manifest | {"fast_networks": {"fast_strokes": house.strokes_digest}} if painted else manifest

    @property
    def _stroke_share(self) -> float:
        return max(0.0, self.strokes) * min(1.0, 2 * float(getattr(self, "strength", 1.0)))


def _paints_strokes(backbone: Backbone) -> bool:
    """Whether a model brings a stroke network."""
    return isinstance(backbone, HouseBackbone) and backbone.stroke_network is not None
