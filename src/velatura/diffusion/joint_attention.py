"""The joint attention of transformers over text and image tokens (Esser et al. 2024), as far as it is controlled: the
queries, keys and values of the image tokens. Those of the text are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from velatura.diffusion.attention_control import Change
from velatura.models.backbone import HasTransformer


@dataclass(frozen=True)
class JointAttention:
    """An attention of a transformer by the name of its module, with ``tokens`` image tokens, the last of its sequence.

    ``queries``, ``keys`` and ``values`` are the names of the modules whose outputs enter softmax(q k^T / sqrt(d)) v,
    but for rotation by position. Where queries and keys are ``normalised``, they are the normalisations' outputs, with
    the tokens on ``axis``. Keys and values may be replaced by others of as many tokens.
    """

    name: str
    tokens: int
    normalised: bool
    axis: int

    @property
    def queries(self) -> str:
        """The query projection, or its normalisation."""
        return f"{self.name}.{'norm_q' if self.normalised else 'to_q'}"

    @property
    def keys(self) -> str:
        """The key projection, or its normalisation."""
        return f"{self.name}.{'norm_k' if self.normalised else 'to_k'}"

    @property
    def values(self) -> str:
        """The value projection."""
        return f"{self.name}.to_v"

    def image_part(self, module: str, output: Tensor) -> Tensor:
        """The image tokens in the ``output`` of one of its modules; a view."""
        axis = self._axis_of(module)
        return output.narrow(axis, output.shape[axis] - self.tokens, self.tokens)

    def changing_image(self, module: str, change: Change) -> Change:
        """A change of a module's output that is ``change`` on the image tokens and none on those of the text."""
        axis = self._axis_of(module)

        def changed(output: Tensor) -> Tensor:
            text = output.narrow(axis, 0, output.shape[axis] - self.tokens)
            return torch.cat([text, change(self.image_part(module, output))], axis)

        return changed

    def _axis_of(self, module: str) -> int:
        return self.axis if self.normalised and module != self.values else 1


def joint_attentions(backbone: HasTransformer, grid: tuple[int, int]) -> list[list[JointAttention]]:
    """The attentions over image tokens of a transformer's blocks, in their order, for latents of (height, width)."""
    tokens, axis = backbone.image_tokens(grid), backbone.normalised_token_axis
    blocks: dict[str, list[JointAttention]] = {}
    for name, module in backbone.transformer.named_modules():
        if hasattr(module, "to_q"):
            block = ".".join(name.split(".")[:2])
            blocks.setdefault(block, []).append(JointAttention(name, tokens, _normalises(module), axis))
    return list(blocks.values())


def later_attentions(backbone: HasTransformer, grid: tuple[int, int]) -> list[JointAttention]:
    """The attentions of the later two thirds of the blocks, for latents of (height, width): in FLUX.1 those of the
    single-stream blocks. What a UNet's decoder does, a transformer does in no part of its own.
    """
    blocks = joint_attentions(backbone, grid)
    return [layer for block in blocks[len(blocks) // 3 :] for layer in block]


def _normalises(attention: Any) -> bool:
    return getattr(attention, "norm_q", None) is not None
