"""The image encoder that the CLIP losses use, and the embeddings and directions that they aim at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.clip_views import draw_rectangles, resample

WHOLE_AREA, PATCH_AREA = (0.8, 1.0), (0.01, 0.05)  # shares of the picture
SIDE, PATCH_SIDE = 224, 112  # pixels of a view
STYLE_VIEWS = 32


class ImageEncoder(Protocol):
    """An image encoder: pixels (B, 3, H, W) in [-1, 1] to embeddings (B, E), differentiable; ``source`` names it."""

    source: str

    def __call__(self, pixels: Tensor) -> Tensor: ...

    def projected(self, pixels: Tensor) -> Tensor:
        """The embeddings (B, E) of pixels (B, 3, 224, 224) before they are normalised."""
        ...


@dataclass(frozen=True)
class ClipTarget:
    """Where embeddings of one kind of view are to go: an ``embedding`` (1, E), and the ``direction`` (1, E) to it."""

    embedding: Tensor
    direction: Tensor


@dataclass(frozen=True)
class ClipTargets:
    """The targets of views of the ``whole`` picture and of small ``patch`` views."""

    whole: ClipTarget
    patch: ClipTarget


def destyled(pixels: Tensor) -> Tensor:
    """A gray, blurred copy of (1, 3, H, W): roughly its content without its style."""
    gray = pixels.mean(1, keepdim=True).expand_as(pixels)
    deviation = max(pixels.shape[2:]) / 64
    size = 2 * round(3 * deviation) + 1
    blurred: Tensor = gaussian_blur2d(gray, (size, size), (deviation, deviation), border_type="reflect")
    return blurred


@torch.no_grad()
def clip_targets_of_picture(picture: Tensor, encoder: ImageEncoder, generator: torch.Generator) -> ClipTargets:
    """Targets from a style picture (1, 3, H, W): mean embeddings of 32 random views of each kind.

    The directions lead there from the same views of the picture's own gray, blurred copy, so that what both show, the
    content, falls out.
    """
    plain = destyled(picture)
    means = []
    for area, side in ((WHOLE_AREA, SIDE), (PATCH_AREA, PATCH_SIDE)):
        rectangles = draw_rectangles(STYLE_VIEWS, area, generator)
        parts = [rectangles[first : first + 8] for first in range(0, STYLE_VIEWS, 8)]
        for image in (picture, plain):
            means.append(torch.cat([encoder(resample(image, part, side)) for part in parts]).mean(0, keepdim=True))
    whole, whole_plain, patch, patch_plain = means
    return ClipTargets(ClipTarget(whole, whole - whole_plain), ClipTarget(patch, patch - patch_plain))


def mixed_clip_targets(parts: Sequence[tuple[ClipTargets, float]]) -> ClipTargets:
    """The weighted sums, by shares, of embeddings and directions."""
    if len(parts) == 1:
        return parts[0][0]

    def mixed(targets: Sequence[tuple[ClipTarget, float]]) -> ClipTarget:
        embeddings, directions = (
            torch.stack([share * getattr(target, name) for target, share in targets]).sum(0)
            for name in ("embedding", "direction")
        )
        return ClipTarget(embeddings, directions)

    return ClipTargets(
        mixed([(part.whole, share) for part, share in parts]), mixed([(part.patch, share) for part, share in parts])
    )


def clip_targets_of_text(style: Tensor, plain: Tensor) -> ClipTargets:
    """Targets from text embeddings (1, E) of any length, normalised first; directions lead from ``plain`` to ``style``.

    All kinds of views have the same target (StyleGAN-NADA's direction, Gal et al. 2022).
    """
    embedding, origin = F.normalize(style, dim=-1), F.normalize(plain, dim=-1)
    target = ClipTarget(embedding, embedding - origin)
    return ClipTargets(target, target)
