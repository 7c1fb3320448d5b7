"""The plain ground that a figure stands on in a style picture: bare paper, a mount, transparency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from velatura.errors import StyleError
from velatura.picture import Picture

LOOK = 256  # px of the long side at which a picture is looked at
NEAR = 6.0  # in CIE Lab: colours that count as the ground's
EDGE = 0.95  # share of the picture's edge that is of the ground, lest a light sky is taken for one
LEAST = 0.1  # share of the picture that ground and figure have at least
HALF = 128  # of alpha, from which on something can be seen
BRUSH = 7  # px across: what is thinner is drawn with a line
SOLID = 0.7  # share of a figure that is left without its lines: a drawing needs its paper
ENDS = (2.0, 98.0)  # percentiles of a figure's L between which its tones lie
RANGE = 20.0  # in L, of these tones at least: a silhouette is nothing without its ground
MIDDLE = 0.3  # share of a figure that lies in the middle half of its tones: an ink drawing needs its paper


def figure_mask(picture: Picture) -> Picture | None:
    """What a plain ground leaves of a style picture, white on black at its size; None where it has no such ground.

    It is a solid figure in several tones, on a ground of one colour, or of transparency, that runs all around the
    picture's edge; else what can be seen, where a part of the picture cannot.
    """
    width, height = (max(1, round(LOOK * side / max(picture.size))) for side in picture.size)
    size = (width, height)
    pixels = np.asarray(picture.image.resize(size, Image.Resampling.BILINEAR))
    visible = _visible(picture, size)
    figure = _figure(pixels, visible)
    if figure is None and LEAST <= visible.mean() < 1:
        figure = visible
    if figure is None:
        return None
    levels = Image.fromarray(figure.astype(np.uint8) * 255)
    return Picture.of(levels.resize(picture.size, Image.Resampling.BILINEAR), "figure")


def on_white(picture: Picture) -> Picture:
    """A style picture as it shows on white paper: what its transparent parts hide does not count.

    Raises StyleError for one of which nothing can be seen.
    """
    if picture.alpha is None:
        return picture
    if not picture.alpha.getextrema()[1]:
        raise StyleError(f"The style picture {picture.name} is transparent everywhere: give one that shows something.")
    white = Image.new("RGB", picture.size, "white")
    return replace(picture, image=Image.composite(picture.image, white, picture.alpha))


def _visible(picture: Picture, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a picture (H, W), scaled to a ``size``, is opaque, or half so."""
    if picture.alpha is None:
        return np.ones(size[::-1], bool)
    return np.asarray(picture.alpha.resize(size, Image.Resampling.BILINEAR)) >= HALF


def _figure(pixels: NDArray[np.uint8], visible: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Where the figure is in pixels (H, W, 3) of which some are ``visible`` (H, W), or None."""
    import cv2

    lab: NDArray[Any] = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    near = ~visible
    edge = _edge(lab)[_edge(visible)]
    if len(edge):
        near |= np.linalg.norm(lab - np.median(edge, 0), axis=2) < NEAR
    if _edge(near).mean() < EDGE:
        return None
    _, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    figure: NDArray[np.bool_] = ~(near & np.isin(labels, np.unique(_edge(labels))))
    if not LEAST <= figure.mean() <= 1 - LEAST or not _has_tones(lab[figure][:, 0]):
        return None
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (BRUSH, BRUSH))
    solid = cv2.morphologyEx(figure.astype(np.uint8), cv2.MORPH_OPEN, brush).sum()
    return figure if solid >= SOLID * figure.sum() else None


def _has_tones(luminance: NDArray[np.floating[Any]]) -> bool:
    """Whether L (N,) is shaded, and not of one tone or of two."""
    low, high = np.percentile(luminance, ENDS)
    return bool(high - low >= RANGE and (abs(luminance - (low + high) / 2) < (high - low) / 4).mean() >= MIDDLE)


def _edge(values: NDArray[Any]) -> NDArray[Any]:
    """The values (H, W, ...) along the four sides of a picture."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
