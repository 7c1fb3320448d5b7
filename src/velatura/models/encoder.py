"""The maps that a diffusion UNet's encoder makes of a picture or a latent: ADM's input blocks, in order."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# ZeCon's choice among the twelve and more maps of its models.
CHOSEN = (0, 2, 5, 8, 11)


def encoder_maps(unet: Any, embedding: Tensor, hidden: Tensor, states: Tensor | None = None) -> tuple[Tensor, ...]:
    """Stem, residual blocks and downsamplings of ``unet`` on ``hidden`` (B, C, H, W) under a time ``embedding``.

    Five of them: numbers 0, 2, 5, 8, 11, or as many spread over a smaller encoder. Nothing behind the last is run.
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
    """Which of ``count`` maps are looked at."""
    if count > CHOSEN[-1]:
        return CHOSEN
    return tuple(sorted({round(place * (count - 1) / 4) for place in range(5)}))
