"""Feature maps of a diffusion UNet's encoder, in the order of ADM's input blocks (ZeCon's features)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# ZeCon's choice among the maps of its models.
CHOSEN = (0, 2, 5, 8, 11)


def unet_encoder_maps(unet: Any, embedding: Tensor, hidden: Tensor, states: Tensor | None = None) -> tuple[Tensor, ...]:
    """Five outputs (B, C, h, w) among the stem, residual blocks and downsamplings of ``unet``, for ``hidden``
    (B, C, H, W) under a time ``embedding``.

    Numbers 0, 2, 5, 8 and 11, or five spread over a smaller encoder. Blocks behind the last of them are not run.
    """
    hidden = unet.conv_in(hidden)
    maps = [hidden]
    counts = [len(block.resnets) + bool(block.downsamplers) for block in unet.down_blocks]
    chosen = chosen_maps(1 + sum(counts))
    for block in unet.down_blocks:
        if len(maps) > chosen[-1]:
            break
        attends = getattr(block, "has_cross_attention", False)
        hidden, made = block(hidden, embedding, encoder_hidden_states=states) if attends else block(hidden, embedding)
        maps.extend(made)
    return tuple(maps[index] for index in chosen)


def chosen_maps(count: int) -> tuple[int, ...]:
    """Which of ``count`` maps are taken."""
    if count > CHOSEN[-1]:
        return CHOSEN
    return tuple(sorted({round(place * (count - 1) / 4) for place in range(5)}))
