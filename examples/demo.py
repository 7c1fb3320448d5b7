"""The demo: a real photo, a style the project painted itself, one result; offline, on a CPU."""

from __future__ import annotations

import time
from pathlib import Path

from PIL import Image
from skimage import data

from velatura import Studio
from velatura.app.terminal import TerminalProgress
from velatura.evaluation.painted_styles import whirls
from velatura.picture import save_picture

FOLDER = Path("demo")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    photo, style = FOLDER / "photo.png", FOLDER / "style.png"
    Image.fromarray(data.chelsea()).save(photo)
    whirls().save(style)
    started = time.monotonic()
    studio = Studio("house", device="cpu", library_folder=FOLDER / "styles", progress=TerminalProgress())
    result = studio.stylize(photo, style=style, seed=0)
    path = save_picture(result.picture, FOLDER / "stylized.png", result.manifest, result.alpha)
    print(
        f"{photo} (Chelsea, Stefan van der Walt, CC0) in the style of {style}, in {time.monotonic() - started:.0f} s:"
    )
    print(path.resolve())


if __name__ == "__main__":
    main()
