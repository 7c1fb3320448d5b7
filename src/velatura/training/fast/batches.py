"""Batches of the fast adapter's training: contents in their styles' colours, and what is wanted of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.picture.palette import transport_palette
from velatura.training.fast.pictures import Pictures
from velatura.training.fast.recipe import FastRecipe, Rows
from velatura.training.fast.style_targets import StyleFeatures, StyleTarget, StyleTargets
from velatura.training.made_pictures import painted_by_magenta, without_style


@dataclass(frozen=True, eq=False)
class FastBatch:
    """Contents (B, 3, side, side) with their ``styles``: those with ``features``, then those that follow a painted
    picture, then those whose target is a real one; ``targets`` (B', 3, side, side) are of these two kinds.
    """

    contents: Tensor
    styles: Sequence[StyleTarget]
    features: Sequence[StyleFeatures]
    targets: Tensor
    rows: Rows


class FastBatches:
    """Draws batches from photos and paintings; all that is random comes from ``chance``."""

    def __init__(
        self, photos: Pictures, paintings: Pictures, targets: StyleTargets, recipe: FastRecipe, chance: random.Random
    ) -> None:
        self.photos, self.paintings, self.targets = photos, paintings, targets
        self.recipe, self.chance = recipe, chance

    def draw(self, rows: Rows) -> FastBatch:
        """A batch of so many rows of each kind."""
        numbers = [self.paintings.draw() for _ in range(rows.guided + rows.followed)]
        styles = [self._style(self.paintings, number) for number in numbers]
        photos = [self.photos.crop(self.photos.draw(), rows.side) for _ in numbers]
        contents = [transport_palette(photo, style.palette, 1.0) for photo, style in zip(photos, styles, strict=True)]
        paths = [(self.paintings.paths[number], self.paintings.whole(number)) for number in numbers[: rows.guided]]
        features = [self.targets.features(path, pixels) for path, pixels in paths]
        followed = self._followed(photos[rows.guided :], styles[rows.guided :])
        pairs = [self._paired(rows.side) for _ in range(rows.paired)]
        return FastBatch(
            torch.cat([*contents, *(content for content, _, _ in pairs)]),
            [*styles, *(style for _, style, _ in pairs)],
            features,
            torch.cat([*followed, *(target for _, _, target in pairs)]),
            rows,
        )

    def _style(self, pictures: Pictures, number: int) -> StyleTarget:
        return self.targets.of(pictures.paths[number], pictures.whole(number))

    def _followed(self, photos: Sequence[Tensor], styles: Sequence[StyleTarget]) -> list[Tensor]:
        """What Magenta's network paints of photos, its colours moved towards the styles'."""
        if not photos:
            return []
        encoder: HouseImageEncoder = self.targets.backbone.pipeline.image_encoder
        vectors = torch.cat([style.painted.vector for style in styles]).cpu()
        count = vectors.shape[1]
        raw = vectors * encoder.std[:count].float().cpu() + encoder.mean[:count].float().cpu()
        painted = painted_by_magenta(torch.cat(list(photos)), raw)
        share = self.recipe.followed_colours
        return [
            transport_palette(one, style.palette, share)
            for one, style in zip(torch.split(painted, 1), styles, strict=True)
        ]

    def _paired(self, side: int) -> tuple[Tensor, StyleTarget, Tensor]:
        photo = self.photos.draw()
        if self.chance.random() < self.recipe.identity_share:
            crop = self.photos.crop(photo, side)
            return crop, self._style(self.photos, photo), crop
        number = self.paintings.draw()
        style, target = self._style(self.paintings, number), self.paintings.crop(number, side)
        content = without_style(target, self.photos.whole(photo), self.chance)
        return transport_palette(content, style.palette, 1.0), style, target
