"""Style pictures that the project paints itself (Apache-2.0), so that a comparison needs nobody's paintings.

One for each kind of style that methods fail on: strokes, ink, two colours, dark, pale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

SIDE = 512
NIGHT: Sequence[Colour] = [(16, 32, 84), (28, 60, 130), (46, 98, 168), (96, 150, 190), (22, 44, 60)]
LIGHT: Sequence[Colour] = [(246, 202, 76), (252, 226, 130), (238, 160, 44)]
EARTH: Sequence[Colour] = [(30, 40, 34), (54, 74, 44), (96, 104, 60), (120, 72, 40)]
PAPER: Colour = (238, 229, 208)
INK: Colour = (28, 24, 30)
PENCIL: Colour = (150, 152, 168)
EMBER: Sequence[Colour] = [(22, 14, 16), (44, 20, 22), (78, 30, 24), (24, 20, 34), (14, 12, 18), (146, 62, 26)]
WASH: Sequence[Colour] = [(244, 224, 222), (222, 232, 240), (240, 238, 218), (226, 240, 228), (250, 246, 240)]


def whirls(seed: int = 0) -> Image.Image:
    """Thousands of short strokes along a field of whirls, in a night's colours: (512, 512), by the ``seed``."""
    rng = np.random.default_rng(seed)
    centres = np.column_stack([rng.uniform(0, SIDE, 9), rng.uniform(0, SIDE * 0.62, 9), rng.choice([-1, 1], 9)])
    picture = Image.new("RGB", (SIDE, SIDE), NIGHT[0])
    draw = ImageDraw.Draw(picture)
    for width, length, count in ((11, 46, 2600), (7, 34, 6500), (4, 24, 9000)):
        for x, y in rng.uniform(-10, SIDE + 10, (count, 2)):
            offset = centres[:, :2] - (x, y)
            distance = np.hypot(offset[:, 0], offset[:, 1])
            near = np.exp(-((distance / 62) ** 2)) * centres[:, 2]
            flow = np.array(
                [1.0 + (near * offset[:, 1]).sum() / 9, 0.25 * np.sin(x / 70) - (near * offset[:, 0]).sum() / 9]
            )
            angle = np.arctan2(flow[1], flow[0]) + rng.normal(0, 0.12)
            palette = _night_palette(y, distance.min(), rng)
            colour = _varied(palette[int(rng.integers(len(palette)))], rng, 13)
            _stroke(draw, (x, y), angle, length * rng.uniform(0.6, 1.2), colour, width)
    return picture.filter(ImageFilter.UnsharpMask(2, 60, 0))


def hatching(seed: int = 0) -> Image.Image:
    """Ink on cream paper: pen lines along the contours of hills, hatched twice in the shade; (512, 512)."""
    rng = np.random.default_rng(seed)
    tone, direction = _hills(rng)
    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), PAPER)
    draw = ImageDraw.Draw(picture)
    for turn, darkest in ((0.0, 0.86), (0.9, 0.5), (-0.7, 0.3)):
        for x, y in rng.uniform(0, SIDE, (9000, 2)):
            shade = tone[int(y), int(x)]
            if shade < darkest * rng.uniform(0.75, 1.0):
                angle = direction[int(y), int(x)] + turn + rng.normal(0, 0.05)
                width = int(rng.integers(2, 4))
                _stroke(draw, (2 * x, 2 * y), angle, rng.uniform(24, 60), _varied(INK, rng, 8), width)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def poster(seed: int = 0) -> Image.Image:
    """Two flat colours, cut like a linocut: red-orange shapes and their grooves on deep green-blue; (512, 512)."""
    rng = np.random.default_rng(seed)
    tone, direction = _hills(rng)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    grooves = np.sin((columns * np.sin(direction) - rows * np.cos(direction)) / 3.2)
    inked = tone + 0.22 * grooves > 0.52
    pixels = np.where(inked[..., None], (228, 92, 48), (18, 62, 76)).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.8))


def embers(seed: int = 0) -> Image.Image:
    """A dark picture: broad, almost black strokes in which a few glow; (512, 512)."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (SIDE, SIDE), EMBER[0])
    draw = ImageDraw.Draw(picture)
    _, direction = _hills(rng)
    for width, length, count in ((16, 70, 1500), (8, 44, 2600), (3, 26, 1400)):
        for x, y in rng.uniform(0, SIDE, (count, 2)):
            glow = rng.random() < 0.14 / width
            colour = (214, 120, 44) if glow and width < 16 else EMBER[int(rng.integers(len(EMBER)))]
            angle = direction[int(y), int(x)] + rng.normal(0, 0.2)
            _stroke(draw, (x, y), angle, length * rng.uniform(0.5, 1.1), _varied(colour, rng, 7), width)
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def wash(seed: int = 0) -> Image.Image:
    """A pale picture: thin washes of watercolour with darker rims, and pencil lines, on white paper; (512, 512)."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (SIDE, SIDE), WASH[-1])
    for _ in range(150):
        x, y, reach = rng.uniform(-30, SIDE + 30), rng.uniform(-30, SIDE + 30), rng.uniform(24, 110)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 22))
        spread = reach * rng.uniform(0.72, 1.1, 22)
        outline = [(x + r * np.cos(a), y + 0.7 * r * np.sin(a)) for a, r in zip(angles, spread, strict=True)]
        mask = Image.new("L", (SIDE, SIDE), 0)
        draw = ImageDraw.Draw(mask)
        draw.polygon(outline, fill=90)
        draw.line([*outline, outline[0]], fill=170, width=2)
        colour = _varied(WASH[int(rng.integers(len(WASH) - 1))], rng, 14)
        picture.paste(Image.new("RGB", (SIDE, SIDE), colour), mask=mask.filter(ImageFilter.GaussianBlur(1.2)))
    draw = ImageDraw.Draw(picture)
    _, direction = _hills(rng)
    for x, y in rng.uniform(0, SIDE, (260, 2)):
        _stroke(draw, (x, y), direction[int(y), int(x)], rng.uniform(20, 70), _varied(PENCIL, rng, 12), 2)
    grain = rng.normal(0, 2.2, (SIDE, SIDE, 1)) + np.asarray(picture, dtype=np.float64)
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


PAINTED_STYLES: Mapping[str, Callable[[int], Image.Image]] = {
    "whirls": whirls,
    "hatching": hatching,
    "poster": poster,
    "embers": embers,
    "wash": wash,
}


def _hills(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A smooth field in 0..1 of side SIDE, and the direction of its contour lines in radians."""
    rough = Image.fromarray(rng.uniform(0, 1, (7, 7)).astype(np.float32))
    field = np.asarray(rough.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
    field = (field - field.min()) / (field.max() - field.min())
    down, right = np.gradient(field)
    return field, np.arctan2(down, right) + np.pi / 2


def _stroke(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], angle: float, length: float, colour: Colour, width: int
) -> None:
    x, y = centre
    half = (np.cos(angle) * length / 2, np.sin(angle) * length / 2)
    draw.line([x - half[0], y - half[1], x + half[0], y + half[1]], fill=colour, width=width)


def _varied(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    red, green, blue = (int(np.clip(value + rng.normal(0, spread), 0, 255)) for value in colour)
    return red, green, blue


def _night_palette(y: float, distance: float, rng: np.random.Generator) -> Sequence[Colour]:
    if y > SIDE * (0.74 + 0.03 * rng.normal()):
        return EARTH
    return LIGHT if distance < 26 + 10 * rng.random() else NIGHT
