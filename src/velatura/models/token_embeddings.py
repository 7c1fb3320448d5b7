"""Token embeddings of a text encoder, replaced for one call (as textual inversion does)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def replace_tokens(embedded: Tensor, at: Tensor, words: Tensor) -> Tensor:
    """Put ``words`` (B, n, W) at the positions ``at`` (B, L, bool) of ``embedded`` (B, L, W).

    The k-th marked position of a row takes vector k modulo n, so one vector replaces every occurrence and
    n vectors fill n consecutive ones.
    """
    order = (at.long().cumsum(1) - 1).clamp(min=0) % words.shape[1]
    chosen = words.gather(1, order[..., None].expand(-1, -1, words.shape[-1]))
    return torch.where(at[..., None], chosen.to(embedded), embedded)


@contextmanager
def token_embeddings_replaced(text_encoder: Any, at: Tensor, words: Tensor) -> Iterator[None]:
    """While open, ``text_encoder`` embeds ``words`` at the positions ``at``; gradients reach ``words``."""

    def substitute(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
        return replace_tokens(embedded, at, words)

    handle = text_encoder.get_input_embeddings().register_forward_hook(substitute)
    try:
        yield
    finally:
        handle.remove()
