"""Export of a learned word in the format of textual inversion, for other programs."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from velatura.picture.writing import replacing


def save_textual_inversion(words: Tensor, token: str, path: Path) -> None:
    """Write token embeddings (n, width) under ``token``, as diffusers' ``load_textual_inversion`` reads them."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(save({token: words.detach().float().cpu().contiguous()}))
