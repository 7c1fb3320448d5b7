"""What the CLIP losses need of an image encoder, and where they lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.crops import cut, drawn_crops

WHOLE_AREA, PATCH_AREA = (0.8, 1.0), (0.01, 0.05)  # shares of the picture
SIDE, PATCH_SIDE = 224, 112  # pixels of a view
STYLE_VIEWS = 32


class Eyes(Protocol):
    """An image encoder: pixels (B, 3, H, W) in [-1, 1] to embeddings (B, E), differentiable; ``source`` names it."""

    source: str

    def __call__(self, pixels: Tensor) -> Tensor: ...

    def projected(self, pixels: Tensor) -> Tensor:
        """The embeddings before they are normalised, of pixels (B, 3, 224, 224)."""
        ...


@dataclass(frozen=True)
class Lead:
    """Where one kind of view is led: an embedding (1, E), and the direction (1, E) that leads there."""

    embedding: Tensor
    direction: Tensor


@dataclass(frozen=True)
class Goal:
    """Where the CLIP losses lead ``whole`` views, and where ``patch``es."""

    whole: Lead
    patch: Lead


def destyled(pixels: Tensor) -> Tensor:
    """A picture's content without its style, roughly: gray and blurred."""
    gray = pixels.mean(1, keepdim=True).expand_as(pixels)
    deviation = max(pixels.shape[2:]) / 64
    size = 2 * round(3 * deviation) + 1
    blurred: Tensor = gaussian_blur2d(gray, (size, size), (deviation, deviation), border_type="reflect")
    return blurred


@torch.no_grad()
def goal_of_picture(picture: Tensor, eyes: Eyes, generator: torch.Generator) -> Goal:
    """A style picture (1, 3, H, W) as a goal; directions lead away from its own gray and blurred copy."""
    plain = destyled(picture)
    means = []
    for area, side in ((WHOLE_AREA, SIDE), (PATCH_AREA, PATCH_SIDE)):
        crops = drawn_crops(STYLE_VIEWS, area, generator)
        parts = [crops[first : first + 8] for first in range(0, STYLE_VIEWS, 8)]
        for image in (picture, plain):
            means.append(torch.cat([eyes(cut(image, part, side)) for part in parts]).mean(0, keepdim=True))
    whole, whole_plain, patch, patch_plain = means
    return Goal(Lead(whole, whole - whole_plain), Lead(patch, patch - patch_plain))


def goal_of_text(wanted: Tensor, given: Tensor) -> Goal:
    """Text embeddings (1, E) of any length as a goal; directions lead from ``given`` to ``wanted`` on the sphere."""
    return published_goal_of_text(F.normalize(wanted, dim=-1), F.normalize(given, dim=-1))


def published_goal_of_text(wanted: Tensor, given: Tensor) -> Goal:
    """ZeCon's: the direction between embeddings of any length."""
    lead = Lead(wanted, wanted - given)
    return Goal(lead, lead)
