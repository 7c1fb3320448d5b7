"""The blocks of a UNet in which an IP-Adapter acts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from velatura.errors import ModelError

ALL, STYLE, LAYOUT, STYLE_AND_LAYOUT = "all", "style", "layout", "style+layout"
BLOCKS = (ALL, STYLE, LAYOUT, STYLE_AND_LAYOUT)
# InstantStyle's blocks (Wang et al. 2024, arXiv 2404.02733) in SDXL, and in Stable Diffusion 1.x, where its authors
# found less of an effect.
IN_SDXL: Mapping[str, tuple[str, ...]] = {STYLE: ("up_blocks.0.attentions.1",), LAYOUT: ("down_blocks.2.attentions.1",)}
IN_SD: Mapping[str, tuple[str, ...]] = {STYLE: ("up_blocks.1",), LAYOUT: ("down_blocks.2", "mid_block")}


def block_scales(unet: Any, attentions: Iterable[str], scale: float, blocks: str) -> dict[str, float]:
    """The scale of each of a UNet's ``attentions`` by name: ``scale`` in the ``blocks``, 0 in others.

    Raises ModelError for blocks that the UNet does not have.
    """
    names = list(attentions)
    if blocks == ALL:
        return dict.fromkeys(names, scale)
    table = IN_SDXL if unet.config.addition_embed_type == "text_time" else IN_SD
    chosen = [f"{block}." for part in blocks.split("+") for block in table[part]]
    if not all(any(name.startswith(block) for name in names) for block in chosen):
        raise ModelError(f"This model's UNet has not the blocks that ip_adapter_blocks={blocks} names: use all.")
    return {name: scale if name.startswith(tuple(chosen)) else 0.0 for name in names}
