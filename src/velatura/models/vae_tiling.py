"""Running an autoencoder in tiles where a picture is large, as diffusers' pipelines do when asked to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LARGE = 1024 * 1024  # pixels; up to here a run does not depend on tiles


@contextmanager
def tiled_when_large(vae: Any, pixels: int) -> Iterator[None]:
    """While open, ``vae`` works in overlapping, blended tiles if a picture of so many ``pixels`` is large and it can.

    Its memory then stays that of a tile. What it did before, it does again afterwards.
    """
    if pixels <= LARGE or not hasattr(vae, "enable_tiling") or getattr(vae, "use_tiling", False):
        yield
        return
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
