"""Whether a folder of frames flickers: a photo panned over 12 frames, each stylised alone with one seed.

python benchmarks/frames.py PHOTO STYLE --method guided --out runs/frames
prints two numbers in levels of 255 for the content and the result: the mean absolute change from frame to frame as a
viewer sees it, and after shifting back by the pan, where only flicker is left. The content's frames are compressed as a
camera's are (JPEG, quality 85), so that they have a little of it too.
"""

from __future__ import annotations

import argparse
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from velatura import Studio
from velatura.app.options import parse_settings
from velatura.app.studio import configured


def panned(photo: Image.Image, side: int, pan: int, count: int) -> list[Image.Image]:
    """``count`` squares of ``side`` pixels of a photo, each ``pan`` pixels to the right of the one before."""
    frames = []
    top = (photo.height - side) // 2
    first = (photo.width - side - pan * (count - 1)) // 2
    for number in range(count):
        left = first + pan * number
        frame = io.BytesIO()
        photo.crop((left, top, left + side, top + side)).save(frame, "JPEG", quality=85)
        frames.append(Image.open(frame).convert("RGB"))
    return frames


def changes(frames: list[Image.Image], pan: int) -> tuple[float, float]:
    """Mean absolute change of successive frames, as seen and after shifting back by the pan."""
    arrays = [np.asarray(frame, np.float32) for frame in frames]
    pairs = list(pairwise(arrays))
    seen = np.mean([np.abs(one - other).mean() for one, other in pairs])
    shifted = np.mean([np.abs(one[:, pan:] - other[:, :-pan]).mean() for one, other in pairs])
    return float(seen), float(shifted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("style", type=Path)
    parser.add_argument("--method", default="guided")
    parser.add_argument("--model", default="house")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pan", type=int, default=5, help="pixels from frame to frame")
    parser.add_argument("--out", type=Path, default=Path("runs/frames"))
    parser.add_argument("--set", action="append", dest="settings")
    asked = parser.parse_args()
    method, settings = parse_settings(asked.method, asked.settings, None)
    photo = Image.open(asked.photo).convert("RGB")
    contents = panned(photo, asked.side, asked.pan, asked.frames)
    studio = Studio(asked.model)
    style = studio.style(asked.style, configured(method, settings))
    results = [studio.stylize(frame, style, seed=0, method=method, **settings).picture for frame in contents]
    asked.out.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(results):
        frame.save(asked.out / f"{method}-{number:02}.png")
    (seen, flicker), (own_seen, own_flicker) = changes(results, asked.pan), changes(contents, asked.pan)
    print("| | change as seen | after shifting back |\n|---|---|---|")
    print(f"| content | {own_seen:.2f} | {own_flicker:.2f} |")
    print(f"| {method} | {seen:.2f} ({seen / own_seen:.2f} x) | {flicker:.2f} ({flicker / own_seen:.2f} x as seen) |")


if __name__ == "__main__":
    main()
