"""What the stroke network's pictures are measured by, against statistics of the style pictures and the contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.detail import local_detail, with_gradient_weights
from velatura.losses.gram import STYLE_LAYERS, gram_matrix
from velatura.losses.structure import normalised
from velatura.losses.wasserstein import at_quantiles, unit_directions
from velatura.models.features.vgg import VGGTrunk

STROKE_WEIGHTS: Mapping[str, float] = {"gram": 4.0, "texture": 6.0, "structure": 5.0, "tones": 2.0, "palette": 15.0}
STROKE_FLAT_PUSH = 0.25  # of the style losses' gradient that reaches flat places
TEXTURE_WIDTHS = {"relu3_1": 256, "relu4_1": 512}  # the layers, and their channels
DIRECTIONS, QUANTILES = 64, 128
COLOUR_DIRECTIONS, COLOUR_QUANTILES = 32, 256
CELL = 4  # px: tones are compared in squares of this side


@dataclass(frozen=True, eq=False)
class StyleMeasures:
    """A style picture's Gram matrices (C, C) by layer, divided by their Frobenius norm (``sizes``), and of deeper
    layers the sorted projections of its features on fixed directions (K, Q), with their mean deviation. ``colours``
    (K, Q) are those of its pixels.
    """

    grams: Mapping[str, Tensor]
    sizes: Mapping[str, float]
    slices: Mapping[str, Tensor]
    deviations: Mapping[str, float]
    colours: Tensor


class StrokeLosses:
    """Losses of pictures that the stroke network painted, looked at through a frozen VGG ``trunk``.

    ``gram``: log(1 + relative squared distance of Gram matrices), the mean over four layers (Gatys et al. 2016).
    ``texture``: sliced W1 distance of relu3_1 and relu4_1, in the style's deviations (Heitz et al. 2021).
    ``structure``: half the squared difference of locally normalised luma to the content's.
    ``tones``: squared difference of 4 px cells to the picture that was painted over.
    ``palette``: sliced W1 distance of the pixels' colours to the style picture's.
    """

    def __init__(self, trunk: VGGTrunk, flat_push: float) -> None:
        self.trunk, self.flat_push = trunk, flat_push
        generator = torch.Generator().manual_seed(0)
        self.directions = {
            layer: unit_directions(DIRECTIONS, width, generator) for layer, width in TEXTURE_WIDTHS.items()
        }
        self.axes = unit_directions(COLOUR_DIRECTIONS, 3, generator)

    @torch.no_grad()
    def measured(self, style: Tensor) -> StyleMeasures:
        """What is wanted of pictures in the style of a picture (1, 3, H, W)."""
        features = self._features(style)
        grams = {layer: gram_matrix(features[layer])[0] for layer in STYLE_LAYERS}
        sizes = {layer: float(gram.norm()) for layer, gram in grams.items()}
        slices = {
            layer: at_quantiles(_sorted_along(self.directions[layer], features[layer])[0], QUANTILES)
            for layer in TEXTURE_WIDTHS
        }
        return StyleMeasures(
            {layer: (gram / sizes[layer]).half() for layer, gram in grams.items()},
            sizes,
            slices,
            {layer: float(rows.std(1).mean()) for layer, rows in slices.items()},
            at_quantiles(_sorted_along(self.axes, style)[0], COLOUR_QUANTILES),
        )

    def __call__(
        self, made: Tensor, given: Tensor, contents: Tensor, styles: Sequence[StyleMeasures]
    ) -> dict[str, Tensor]:
        """The losses by name of pictures ``made`` from the ``given`` ones, all (B, 3, H, W) in [-1, 1]."""
        detail = torch.cat([local_detail(each[None], self.flat_push) for each in contents])
        features = self._features(with_gradient_weights(made, detail))
        structure = [F.mse_loss(*both) for both in zip(normalised(made), normalised(contents), strict=True)]
        return {
            "gram": torch.stack([self._gram(features, layer, styles) for layer in STYLE_LAYERS]).mean(),
            "texture": torch.stack([self._texture(features, layer, styles) for layer in TEXTURE_WIDTHS]).mean(),
            "structure": torch.stack(structure).mean() / 2,
            "tones": F.mse_loss(F.avg_pool2d(made, CELL), F.avg_pool2d(given, CELL)),
            "palette": self._palette(made, styles),
        }

    def _features(self, pixels: Tensor) -> dict[str, Tensor]:
        with torch.autocast(pixels.device.type, torch.bfloat16):
            return self.trunk.features(pixels.contiguous(memory_format=torch.channels_last), STYLE_LAYERS)

    def _palette(self, made: Tensor, styles: Sequence[StyleMeasures]) -> Tensor:
        found = _sorted_along(self.axes, made)
        wanted = torch.stack([at_quantiles(style.colours, found.shape[2]) for style in styles])
        return (found - wanted).abs().mean()

    def _gram(self, features: Mapping[str, Tensor], layer: str, styles: Sequence[StyleMeasures]) -> Tensor:
        wanted = torch.stack([style.grams[layer].float() for style in styles])
        sizes = wanted.new_tensor([style.sizes[layer] for style in styles])
        found = gram_matrix(features[layer].bfloat16()).float() / sizes[:, None, None]
        return torch.log1p((found - wanted).square().sum((1, 2))).mean()

    def _texture(self, features: Mapping[str, Tensor], layer: str, styles: Sequence[StyleMeasures]) -> Tensor:
        found = _sorted_along(self.directions[layer], features[layer])
        wanted = torch.stack([at_quantiles(style.slices[layer], found.shape[2]) for style in styles])
        deviations = wanted.new_tensor([style.deviations[layer] for style in styles]).clamp(min=1e-6)
        return ((found - wanted).abs().mean((1, 2)) / deviations).mean()


def _sorted_along(directions: Tensor, maps: Tensor) -> Tensor:
    """The sorted projections (B, K, N) of the columns of maps (B, C, H, W) on ``directions`` (K, C)."""
    columns = maps.float().flatten(2)
    return (directions.to(columns) @ columns).sort(2).values
