"""A picture in a few calls: house's UNet, trained to paint a content that stands beside its input.

The content is recoloured to the style's palette, noised to a high level, and denoised in four calls under the style
picture's word and vector. The adapter has learned from what Magenta's network and the guided method paint (decisions
18 and 21). Over the decoded result a small feed-forward network, trained by losses of textures and structure, paints
the style's strokes (decision 23).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from PIL import Image
from torch import Tensor

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import Predict
from velatura.errors import SettingError, StyleError
from velatura.methods.adapters.settings import ADAPTERS
from velatura.methods.base import RunResult, WorkingPicture
from velatura.methods.colours import FINAL_SHARE, recoloured
from velatura.methods.context import RunContext
from velatura.methods.cost import Cost
from velatura.methods.fast_painting import (
    TRAINED_STEPS,
    TRAINED_STRENGTH,
    Painting,
    painted_by,
    painted_latents,
    painter_of,
)
from velatura.methods.fitting import fit_card, fit_identity, fit_settings
from velatura.methods.region_borders import with_sharp_borders
from velatura.methods.regional import RegionalMethod
from velatura.methods.resumable_fit import FitCheckpoint
from velatura.methods.strokes.painting import STROKES_BYTES_PER_PIXEL, strokes_of, with_region_strokes
from velatura.methods.strokes.tuning import TuningSettings, tuned_strokes
from velatura.methods.validation import Share, Side, Steps, changed
from velatura.models.backbone import Backbone
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_painter import PaintedStyle
from velatura.models.noise_schedule import Levels
from velatura.picture import Picture, image_to_pixels, plan_size
from velatura.style import Style
from velatura.style.masked import only_inside
from velatura.style.mixing import mixed_style, parts_of
from velatura.style.pictures import kept_image, picture_tensor

Context = RunContext[HouseBackbone]


@dataclass(frozen=True)
class Fast(TuningSettings, RegionalMethod):
    """Settings of the fast method, and those of ``TuningSettings``.

    ``steps`` is how many calls of the network the painting takes.
    ``strength`` (0..1) is the share of the noise levels from which the content is painted.
    ``palette`` (0..1) is how far the content's colours are moved to the style's palette before all else, and once more
    before the strokes (less below strength 0.5: a small strength is a small change).
    ``sharpness`` (0..1) is how much of the detail that the autoencoder loses of that start is put back into the result
    (more below strength 0.5: at strength 0 all of it, and the result is the content).
    ``strokes`` (0..1) is the share of the result that a feed-forward network paints over it, where the model brings
    one, in the style's strokes (less below strength 0.5).
    ``size`` is the working length of the short side in pixels (0: the model's native size).

    Raises SettingError for values outside these ranges.
    """

    name: ClassVar[str] = "fast"
    style_method: ClassVar[str] = "fast"
    mixes: ClassVar[bool] = True
    needs_picture_words: ClassVar[bool] = True
    needs_fast_adapter: ClassVar[bool] = True
    final_bytes_per_pixel: ClassVar[int] = STROKES_BYTES_PER_PIXEL

    steps: Steps = TRAINED_STEPS
    strength: Share = TRAINED_STRENGTH
    palette: Share = 1.0
    sharpness: Share = 0.3
    strokes: Share = 0.5
    size: Side = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        joining = changed(self, ADAPTERS)
        if joining:
            raise SettingError(
                f"The method fast has a network of its own, which no adapter joins: leave out {joining[0]}."
            )

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on: those of the strokes' tuning."""
        return fit_settings(self, TuningSettings)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model without a fast adapter."""
        painter_of(backbone)

    def mix(self, styles: Sequence[tuple[Style, float]]) -> Style:
        """One style whose vector and palette are weighted sums of those of several."""
        return mixed_style(styles)

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """The picture, of which only what is white in ``mask`` counts, and its style vector: a moment's work. With
        ``fit_steps`` the stroke network, tuned to it, too; that is resumed from ``checkpoint``.

        Raises StyleError for a mask that is black everywhere, ModelError for a model without a fast adapter,
        SettingError for ``fit_steps`` on one without a stroke network.
        """
        self.check_backbone(context.backbone)
        backbone, cost = cast("HouseBackbone", context.backbone), Cost(context.backbone)
        image = only_inside(picture, mask)
        size = plan_size(picture.size, backbone.native_size, backbone.multiple).working
        pixels = image_to_pixels(image, size)
        tensors = {
            "vector": backbone.style_vector(pixels),
            "picture.00": picture_tensor(kept_image(image)),
        }
        card = fit_card(picture, self.fit_settings, [], "nothing to fit", cost)
        style = Style(name, self.style_method, backbone.name, backbone.fingerprint, tensors, card)
        if not self.fit_steps:
            return style
        kept = FitCheckpoint(
            checkpoint, fit_identity(picture, mask, backbone, {**self.fit_settings, **backbone.fast_networks}), cost
        )
        paint = partial(Fast().before_strokes, context=RunContext(backbone, self.fit_seed))
        tuned, curve = tuned_strokes(self, pixels, style, paint, kept, cast("Context", context))
        card = fit_card(picture, self.fit_settings, curve, "all steps", cost)
        return replace(style, tensors={**tensors, **tuned}, card=card)

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: Context) -> list[RunResult]:
        networks = painted_by(context.backbone, self.strokes) if self.strength else {}
        return [RunResult(self.pixels(content, context), manifest=networks) for content in contents]

    def _picture(self, content: WorkingPicture, run: RunResult, context: RunContext[Backbone]) -> Image.Image:
        return super()._picture(content, run, context) if self.strength else content.picture.image

    def pixels(self, content: WorkingPicture, context: Context) -> Tensor:
        """The stylised picture (1, 3, H, W)."""
        backbone, placement = context.backbone, content.placement
        styles = [painted_style(region.style, backbone) for region in placement.regions]
        _, painted = self.before_strokes(content, styles, context)
        strokes = strokes_of(placement.regions, [style.vector for style in styles], context)
        return with_region_strokes(painted, placement, strokes, self._share * self.strokes)

    def before_strokes(
        self, content: WorkingPicture, styles: Sequence[PaintedStyle], context: Context
    ) -> tuple[Tensor, Tensor]:
        """The content in the styles' colours, and what the UNet paints of it, in these too: both (1, 3, H, W)."""
        backbone, placement = context.backbone, content.placement
        photo, colours = content.pixels().to(context.device), self._share * self.palette
        start = recoloured(photo, photo, placement, colours)
        latents = backbone.encode(start)
        made = painted_latents(latents, placement, styles, Painting(self.strength, self.steps), context)
        pixels = backbone.decode(made)
        detail = 1 - self._share * (1 - self.sharpness)
        if detail:
            pixels = pixels + detail * (start - backbone.decode(latents))
        pixels = with_sharp_borders(pixels, start, placement, backbone.factor)
        return start, recoloured(pixels, photo, placement, FINAL_SHARE * colours)

    @property
    def _share(self) -> float:
        """Of palette and strokes: less below strength 0.5."""
        return min(1.0, 2 * self.strength)

    @contextmanager
    def tile_predictors(self, content: WorkingPicture, levels: Levels, context: Context) -> Iterator[list[Predict]]:
        """The model's own prediction under each region's word: what the painter adds is in the composition already."""
        backbone = context.backbone
        words = [painted_style(region.style, backbone).conditioning for region in content.placement.regions]
        yield [conditional(backbone, word) for word in words]


def painted_style(style: Style, backbone: HouseBackbone) -> PaintedStyle:
    """A style, or a mix of styles by their shares, as the painter takes it.

    Raises StyleError for one without a style vector.
    """
    parts = parts_of(style)
    if any("vector" not in part.tensors for part, _ in parts):
        raise StyleError(f"The style '{style.name}' holds no vector of a picture: fit it again.")
    return backbone.painted_style(torch.stack([share * part.tensors["vector"] for part, share in parts]).sum(0))
