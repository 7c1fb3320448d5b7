"""Fitting a style for loss-guided diffusion, and reading it back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from velatura.losses import StyleStatistics
from velatura.losses.statistics import style_statistics
from velatura.methods.context import RunContext
from velatura.methods.guided.sizing import usual_size
from velatura.methods.provenance import versions
from velatura.models.backbone import Backbone, PictureWords
from velatura.models.features.vgg import perceptual_trunk
from velatura.picture import Picture, image_to_pixels, plan_size
from velatura.style import Style
from velatura.style.masked import only_inside
from velatura.style.pictures import kept_image, picture_tensor, pictures_of

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class GuidedStyle:
    """A typed view of a style: one that was fitted to a picture, or one in words.

    ``statistics`` are the style picture's and ``features`` names the VGG they were taken with; ``word`` (1, n, W)
    holds token embeddings that stand for the picture in a prompt, where the model reads pictures so. A style in words
    has its ``text`` and none of the others.
    """

    style: Style
    statistics: StyleStatistics | None
    features: str
    picture: Image.Image | None
    word: Tensor | None
    text: str

    @staticmethod
    def of(style: Style, device: torch.device = CPU) -> GuidedStyle:
        """The view, its statistics on ``device``."""
        statistics = None
        if "colour.mean" in style.tensors:
            names = (name for name in style.tensors if name.startswith("gram."))
            grams = {name.removeprefix("gram."): style.tensors[name].to(device) for name in names}
            mean, factor = (style.tensors[name].to(device) for name in ("colour.mean", "colour.factor"))
            statistics = StyleStatistics(grams, mean, factor)
        pictures = pictures_of(style)
        return GuidedStyle(
            style,
            statistics,
            str(style.card.get("features", "")),
            pictures[0][0] if pictures else None,
            style.tensors.get("word"),
            str(style.card.get("text") or ""),
        )

    def pixels(self, side: int, device: torch.device) -> Tensor | None:
        """The style picture (1, 3, h, w) in [-1, 1]; None for a style in words.

        Its short side is ``side`` pixels, or its own where that is less: at the result's size its strokes are as wide
        as the result's are to be.
        """
        if self.picture is None:
            return None
        size = plan_size(self.picture.size, min(side, *self.picture.size), 1).working
        return image_to_pixels(self.picture, size).to(device)


def fit_guided(
    picture: Picture, name: str, context: RunContext[Backbone], size: int = 0, mask: Picture | None = None
) -> Style:
    """A style with its picture, of which only what is white in ``mask`` counts, the picture's statistics at short side
    ``size`` (0: the usual one) and, where the model reads pictures as words, its word.

    Nothing is trained. Raises StyleError for a mask that is black everywhere.
    """
    image = only_inside(picture, mask)
    backbone = context.backbone
    pixels = image_to_pixels(image, usual_size(picture.size, size, backbone)).to(context.device)
    trunk = perceptual_trunk(context.device, backbone.dtype)
    statistics = style_statistics(pixels, trunk)
    tensors = {f"gram.{layer}": gram for layer, gram in statistics.grams.items()}
    tensors |= {"colour.mean": statistics.colour_mean, "colour.factor": statistics.colour_factor}
    tensors |= {"picture.00": picture_tensor(kept_image(image))}
    if isinstance(backbone, PictureWords):
        tensors["word"] = backbone.style_word(pixels)
    card = {
        "picture": picture.name,
        "file": picture.file,
        "sha256": picture.digest,
        "size": list(picture.size),
        "settings": {"size": size},
        "features": trunk.source,
        "versions": versions(),
    }
    return Style(name, "guided", backbone.name, backbone.fingerprint, tensors, card)
