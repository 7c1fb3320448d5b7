"""Segmentation of an object, or of stuff like grass, from a box or points with GrabCut (Rother et al. 2004).

No learned weights.
GrabCut starts from labels by colour: the ratio of smoothed histograms (Lab's a and b) inside and outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from velatura.errors import SettingError
from velatura.regions.masks import Mask

BINS = 48
ITERATIONS = 6
WORKING_SIDE = 512  # of the longer side, for speed; the mask is scaled back
NEVER, PERHAPS_NOT, PERHAPS, SURELY = 0, 2, 3, 1  # GrabCut's labels

SPECK = 0.01  # share of what is found: smaller pieces and holes are errors of colour, not things

ALIKE = 14.0  # distance of colours of one stuff
STUFF = 0.25  # share of the rim that is alike from which points are on stuff: deer 0.1, hair 0.2, sand 0.3, grass 0.9

Array = NDArray[Any]
Point = tuple[float, float]


def box_mask(image: Image.Image, box: tuple[float, float, float, float]) -> Mask:
    """The object in ``box`` (x0, y0, x1, y1 in pixels), (H, W) in {0, 1}.

    Raises SettingError for a box outside the picture.
    """
    x0, y0, x1, y1 = box
    width, height = image.size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise SettingError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} does not lie in the picture of {width} x {height}: give x0,y0,x1,y1 "
            "in pixels, left top to right bottom."
        )
    bgr, scale = _working(image)
    inside = np.zeros(bgr.shape[:2], bool)
    left, top, right, bottom = (round(value * scale) for value in box)
    inside[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    if inside.all():
        inside[[0, -1]] = inside[:, [0, -1]] = False
    likely = _likeness(bgr, inside, ~inside) > 0.5
    labels = np.where(inside, np.where(likely, PERHAPS, PERHAPS_NOT), NEVER).astype(np.uint8)
    return _scaled(_grabcut(bgr, labels), image.size)


def points_mask(image: Image.Image, points: Sequence[Point], others: Sequence[Point] = ()) -> Mask:
    """What is under ``points`` (x, y in pixels) and not under ``others``, (H, W) in {0, 1}.

    The picture's rim counts as what it is not, unless its colours are those under the points: then it is stuff (grass,
    sky) that goes on beyond the picture, and may have several pieces. Raises SettingError for a point outside.
    """
    import cv2

    for x, y in (*points, *others):
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise SettingError(f"The point {x:g},{y:g} does not lie in the picture of {image.width} x {image.height}.")
    bgr, scale = _working(image)
    height, width = bgr.shape[:2]
    seeds, against = _discs(bgr, scale, points), _discs(bgr, scale, others)
    seeds &= ~against
    rim = np.ones((height, width), bool)
    depth = max(1, min(height, width) // 25)
    rim[depth:-depth, depth:-depth] = False
    rim &= ~seeds
    distance = _colour_distance(bgr, seeds)
    stuff = bool((distance[rim] < ALIKE).mean() > STUFF)
    if stuff:
        likely = distance < np.minimum(ALIKE, _colour_distance(bgr, against))
    else:
        against |= rim
        likely = _likeness(bgr, seeds, against) > 0.5
    labels = np.where(likely, PERHAPS, PERHAPS_NOT).astype(np.uint8)
    labels[against] = NEVER
    labels[seeds] = SURELY
    found = _grabcut(bgr, labels)
    if not stuff:
        _, pieces = cv2.connectedComponents(found.astype(np.uint8))
        found &= np.isin(pieces, np.unique(pieces[seeds & found]))
    return _scaled(found, image.size)


def _discs(bgr: Array, scale: float, points: Sequence[Point]) -> Array:
    """(H, W) booleans: what lies around points of the unscaled picture."""
    import cv2

    height, width = bgr.shape[:2]
    drawn = np.zeros((height, width), np.uint8)
    for x, y in points:
        centre = (min(width - 1, int(x * scale)), min(height - 1, int(y * scale)))
        cv2.circle(drawn, centre, max(2, max(height, width) // 50), 1, -1)
    return drawn > 0


def _colour_distance(bgr: Array, seeds: Array) -> Array:
    """(H, W): distance of each pixel's colour to the nearest under ``seeds``, in Lab (0..255); infinite without seeds.

    L counts less, because light and shade lie on one stuff.
    """
    import cv2

    lab = cv2.cvtColor(cv2.GaussianBlur(bgr, (0, 0), 2), cv2.COLOR_BGR2LAB).astype(np.float32)
    lab[..., 0] *= 0.1
    colours = lab[seeds]
    squared = np.full(seeds.shape, np.inf, np.float32)
    for colour in colours[:: max(1, len(colours) // 200)]:
        squared = np.minimum(squared, ((lab - colour) ** 2).sum(-1))
    return np.asarray(np.sqrt(squared))


def _working(image: Image.Image) -> tuple[Array, float]:
    scale = min(1.0, WORKING_SIDE / max(image.size))
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    rgb = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    return np.ascontiguousarray(rgb[:, :, ::-1]), scale


def _likeness(bgr: Array, thing: Array, rest: Array) -> Array:
    """(H, W) in 0..1: a pixel's colour's frequency in ``thing`` over the sum of those in ``thing`` and ``rest``."""
    import cv2

    lab: Array = cv2.cvtColor(cv2.GaussianBlur(bgr, (0, 0), 2), cv2.COLOR_BGR2LAB).astype(int)
    a, b = lab[..., 1] * BINS // 256, lab[..., 2] * BINS // 256

    def histogram(where: Array) -> Array:
        counts = np.zeros((BINS, BINS))
        np.add.at(counts, (a[where], b[where]), 1)
        smooth: Array = np.asarray(cv2.GaussianBlur(counts, (0, 0), 1.0))
        share: Array = smooth / max(1.0, float(smooth.sum()))
        return share

    ours, theirs = histogram(thing), histogram(rest)
    likeness: NDArray[np.float64] = (ours + 1e-6) / (ours + theirs + 2e-6)
    return np.asarray(likeness[a, b])


def _grabcut(bgr: Array, labels: Array) -> Array:
    """GrabCut's foreground (H, W) from the start ``labels``; the start itself where that is all or nothing."""
    import cv2
    from skimage.morphology import area_closing, area_opening

    start: Array = (labels == PERHAPS) | (labels == SURELY)
    if start.all() or not start.any():
        return start
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    labels, _, _ = cv2.grabCut(bgr, labels, (0, 0, 1, 1), background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found: Array = (labels == PERHAPS) | (labels == SURELY)
    speck = SPECK * float(found.sum())
    return np.asarray(area_closing(area_opening(found, speck), speck))


def _scaled(found: Array, size: tuple[int, int]) -> Mask:
    image = Image.fromarray((found * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return (np.asarray(image) > 127).astype(np.float32)
