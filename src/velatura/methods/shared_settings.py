"""Settings that every method has: whose colours a result has, and how its style pictures are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from velatura.errors import SettingError
from velatura.methods.adapters.settings import ADAPTERS
from velatura.methods.validation import Choices, NamedShares, Range, changed
from velatura.regions import Region
from velatura.style.pictures import palette_of_style

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

AS_MADE = "made"  # the colours that the method makes, whatever is its default
COLOURS = NamedShares({"style": 1.0, "content": 0.0, AS_MADE: None})
StyleScale = Annotated[float, Range(0.25, 4, or_zero=True)]
FULL = "full"  # the resolution that is the photo's own
FIGURE, WHOLE = "figure", "whole"  # what of a style picture counts
# What no published program has, of the settings of the method that it is of.
NOT_PUBLISHED = ("colours", "style_scale", "style_ground", "resolution", "strokes", *ADAPTERS)


@dataclass(frozen=True)
class SharedSettings:
    """Settings that every method has.

    ``colours`` are the result's at the end: "style" for the style picture's palette, "content" for the photo's own
    colours under the style's strokes, or a number between 0 (the content's) and 1 (the style's); "made" leaves
    what the method makes; empty is the method's own choice.
    ``style_scale`` is the size of strokes and shapes relative to the picture: at 1 (or 0, if the style is not fitted
    yet) they are as in the style picture shown as large as the result, at 2 twice as large, at 0.5 half as large.
    ``style_ground`` "figure" leaves a plain ground around a figure in the style picture out of the style, if there is
    one; "whole" counts it; empty leaves it out in regions only.
    ``resolution`` "full" (``--size full``) paints the result again in tiles at the photo's own size; empty enlarges it.
    """

    as_published: ClassVar[bool] = False  # a published program has none of these settings
    default_colours: ClassVar[float | None] = None  # the share that stands for empty ``colours``

    colours: Annotated[float | str, COLOURS] = field(default="", kw_only=True)
    style_scale: StyleScale = field(default=0.0, kw_only=True)
    style_ground: Annotated[str, Choices((FIGURE, WHOLE), or_empty=True)] = field(default="", kw_only=True)
    resolution: Annotated[str, Choices((FULL,), or_empty=True)] = field(default="", kw_only=True)

    @property
    def style_view(self) -> tuple[float, bool]:
        """How a fit sees its style picture: at which scale, and whether as the figure without its ground."""
        return self.style_scale or 1.0, self.style_ground == FIGURE

    def for_region(self) -> Self:
        """As the style picture of a region is fitted."""
        return self if self.style_ground or self.as_published else replace(self, style_ground=FIGURE)

    @property
    def colour_share(self) -> float | None:
        """How far colours are moved from the content's (0) to the style's (1); None leaves them."""
        share = COLOURS.share(self.colours)
        if share is not None or self.colours == AS_MADE or not self.default_colours:
            return share
        # A small strength is a small change: none at all at 0.
        return self.default_colours * min(1.0, 2 * getattr(self, "strength", 1.0)) or None

    def in_asked_colours(self) -> Self:
        """With no more ``palette``, where the method has one, than the share of the style in ``colours``."""
        share = COLOURS.share(self.colours)
        palette = getattr(self, "palette", None)
        return self if share is None or palette is None else replace(self, **{"palette": min(palette, share)})

    def check_shared(self, name: str, regions: Sequence[Region] = ()) -> None:
        """Raise SettingError for a published program called ``name`` with one of these settings, for colours of a style
        without a picture, and for a style that was fitted at another scale or with its picture's ground
        where it is not to count, or the other way round.
        """
        asked = changed(self, NOT_PUBLISHED)
        if self.as_published and asked:
            raise SettingError(f"{name} is the published program, which has no {asked[0]}: leave it out.")
        for style in {region.style.identity: region.style for region in regions}.values():
            if COLOURS.share(self.colours) and palette_of_style(style) is None:
                raise SettingError(
                    f"The style '{style.name}' has no picture to take colours from: use --colours content, or leave "
                    "--colours out."
                )
            fitted = float(style.card.get("style_scale", 1))
            if self.style_scale and fitted != self.style_scale:
                raise SettingError(
                    f"The style '{style.name}' was fitted at style scale {fitted:g}, not {self.style_scale:g}: name "
                    "its picture instead, or fit it again at that scale."
                )
            seen = style.card.get("style_ground")
            if self.style_ground and seen and seen != self.style_ground:
                raise SettingError(
                    f"The style '{style.name}' was fitted with style_ground={seen}, not {self.style_ground}: name its "
                    "picture instead, or fit it again."
                )
