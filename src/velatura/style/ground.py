"""The plain ground that a figure stands on in a style picture: bare paper, a mount, transparency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from velatura.picture import Picture

LOOK = 256  # px of the long side at which a picture is looked at
NEAR = 6.0  # in CIE Lab: colours that count as the ground's
EDGE = 0.95  # share of the picture's edge that is of the ground, lest a light sky is taken for one
LEAST = 0.1  # share of the picture that ground and figure have at least
BRUSH = 7  # px across: what is thinner is drawn with a line
SOLID = 0.7  # share of a figure that is left without its lines: a drawing needs its paper
ENDS = (2.0, 98.0)  # percentiles of a figure's L between which its tones lie
RANGE = 20.0  # in L, of these tones at least: a silhouette is nothing without its ground
MIDDLE = 0.3  # share of a figure that lies in the middle half of its tones: an ink drawing needs its paper


def figure_mask(picture: Picture) -> Picture | None:
    """What a plain ground leaves of a style picture, white on black at its size; None where it has no such ground.

    It is what is opaque, where anything is transparent; else a solid figure in several tones, on a ground of one colour
    that runs all around the picture's edge.
    """
    if picture.alpha is not None:
        return Picture.of(picture.alpha, "figure") if picture.alpha.getextrema()[1] else None
    small = picture.image.convert("RGB")
    small.thumbnail((LOOK, LOOK))
    figure = _figure(np.asarray(small))
    if figure is None:
        return None
    return Picture.of(Image.fromarray(figure).resize(picture.size, Image.Resampling.BILINEAR), "figure")


def _figure(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The figure in pixels (H, W, 3), 255 on 0, or None."""
    import cv2

    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    ground = np.median(_edge(lab), 0)
    near = np.linalg.norm(lab - ground, axis=2) < NEAR
    if _edge(near).mean() < EDGE:
        return None
    _, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    figure = ~(near & np.isin(labels, np.unique(_edge(labels))))
    if not LEAST <= figure.mean() <= 1 - LEAST or not _has_tones(lab[figure][:, 0]):
        return None
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (BRUSH, BRUSH))
    levels = figure.astype(np.uint8) * 255
    solid = (cv2.morphologyEx(levels, cv2.MORPH_OPEN, brush) > 0).sum()
    return levels if solid >= SOLID * figure.sum() else None


def _has_tones(luminance: NDArray[np.float32]) -> bool:
    """Whether L (N,) is shaded, and not of one tone or of two."""
    low, high = np.percentile(luminance, ENDS)
    return bool(high - low >= RANGE and (abs(luminance - (low + high) / 2) < (high - low) / 4).mean() >= MIDDLE)


def _edge(values: NDArray[Any]) -> NDArray[Any]:
    """The values (H, W, ...) along the four sides of a picture."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
