"""Encoding and decoding large pictures tile by tile, so that memory does not grow with them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.methods.tiling.grid import Grid
from velatura.models.backbone import Backbone
from velatura.picture.enlarging import Enlarged


def cells_of(size: tuple[int, int], backbone: Backbone) -> tuple[int, int]:
    """The latent cells (height, width) that cover a picture of ``size`` (width, height), in steps the model takes."""
    step = backbone.multiple // backbone.factor
    width, height = (-(-side // backbone.multiple) * step for side in size)
    return height, width


def encoded(source: Enlarged, grid: Grid, backbone: Backbone) -> Tensor:
    """The latents (1, C, h, w) of a picture, blended from those of the tiles of ``grid``, in cells."""
    factor = backbone.factor
    latents = torch.zeros(1, backbone.latent_channels, *grid.size, device=backbone.device)
    for box, window in zip(grid.boxes(), grid.windows(), strict=True):
        place = (side * factor for side in (box.left, box.top, box.width, box.height))
        box.of(latents).add_(window.to(latents) * backbone.encode(source.pixels(*place)))
    return latents


def decoded(latents: Tensor, grid: Grid, fine: Grid, backbone: Backbone) -> Image.Image:
    """The picture of latents (1, C, h, w), blended from those of the tiles of ``grid``; ``fine`` is the grid in pixels.

    One row of tiles is held in floats at a time, the picture in bytes.
    """
    height, width = fine.size
    canvas = np.empty((height, width, 3), np.uint8)
    rows, columns = fine.rows, fine.columns
    row = torch.zeros(3, rows.length, width)
    tiles = zip(grid.boxes(), fine.windows(), strict=True)
    for top, below in zip(rows.starts, (*rows.starts[1:], height), strict=True):
        for left in columns.starts:
            box, window = next(tiles)
            tile = backbone.decode(box.of(latents))[0].clamp(-1, 1).cpu()
            row[:, :, left : left + columns.length] += window * tile
        done = below - top
        canvas[top:below] = ((row[:, :done] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        row = torch.cat([row[:, done:], torch.zeros(3, done, width)], 1)
    return Image.fromarray(canvas)
