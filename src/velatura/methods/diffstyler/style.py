"""A fitted style as DiffStyler reads it, and what it asks of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from PIL import Image
from torch import Tensor

from velatura.errors import StyleError
from velatura.methods.context import RunContext
from velatura.methods.requirements import require
from velatura.models.backbone import (
    PLACEHOLDER,
    Backbone,
    Conditioning,
    HasTransformer,
    HasUNet,
    TextConditioned,
    denoising_network,
)
from velatura.models.lora import check_adapter, weight_shapes
from velatura.regions import Region
from velatura.style import Style
from velatura.style.pictures import pictures_of

STYLE_WORD = "<sss>"  # stands for the style in prompts
MOMENTS, MOMENT_ABARS = "start.moments", "start.abars"


class LoraBackbone(Backbone, TextConditioned, Protocol):
    """A model with a diffusers UNet or transformer, which LoRA adapters can be put on, that takes a prompt."""


def check_lora_backbone(backbone: Backbone, method: str) -> None:
    """Raise ModelError unless the model is a ``LoraBackbone``."""
    if not isinstance(backbone, HasTransformer):
        require(backbone, HasUNet, method, "UNet or transformer")
    require(backbone, TextConditioned, method, "text encoder")


def lora_backbone(context: RunContext[Backbone], method: str) -> RunContext[LoraBackbone]:
    """The context of a model that is checked to be a ``LoraBackbone``. Raises ModelError for another one."""
    check_lora_backbone(context.backbone, method)
    return cast("RunContext[LoraBackbone]", context)


def check_loras(regions: Sequence[Region], backbone: Backbone) -> None:
    """Raise StyleError, naming the style, for a region whose LoRA does not fit the model's network."""
    if isinstance(backbone, HasUNet | HasTransformer):
        shapes = weight_shapes(denoising_network(backbone))
        for region in regions:
            check_adapter(LoraStyle.of(region.style).adapter, shapes, region.style.name, f"the model {backbone.name}")


@torch.no_grad()
def encode_style_prompt(prompt: str, word: Tensor | None, backbone: LoraBackbone) -> Conditioning:
    """The conditioning of a prompt whose "<sss>" is the token embedding ``word`` (1, 1, W), or plain text where there
    is none.
    """
    if word is None or STYLE_WORD not in prompt:
        return backbone.encode_prompt([prompt])
    return backbone.encode_prompt([prompt.replace(STYLE_WORD, PLACEHOLDER)], word)


@dataclass(frozen=True)
class LoraStyle:
    """A LoRA ``adapter`` (module names to matrices), the ``prompt`` it was fitted under and, where the fit kept them,
    the model's own ``word`` (1, 1, W) for the style picture, the channel ``moments`` (levels, 2, 1, C, 1, 1) of the
    picture's latents along its inversion at the levels ``abars``, and its ``picture``.

    ``identity`` is a hash of all that was fitted.
    """

    name: str
    identity: str
    adapter: Mapping[str, Tensor]
    prompt: str
    word: Tensor | None
    moments: Tensor | None
    abars: Tensor | None
    picture: Image.Image | None

    @staticmethod
    def of(style: Style) -> LoraStyle:
        """The view of a style."""
        tensors, pictures = style.tensors, pictures_of(style)
        return LoraStyle(
            style.name,
            style.identity,
            {name: tensor for name, tensor in tensors.items() if ".lora_" in name},
            style.card.get("prompt", ""),
            tensors.get("word"),
            tensors.get(MOMENTS),
            tensors.get(MOMENT_ABARS),
            pictures[0][0] if pictures else None,
        )

    def conditioning(self, prompt: str, backbone: LoraBackbone) -> Conditioning:
        """The conditioning of ``prompt``, or where that is empty of the prompt that the style was fitted under."""
        return encode_style_prompt(prompt or self.prompt, self.word, backbone)

    def start_moments(self, abar: float) -> Tensor | None:
        """The moments (2, 1, C, 1, 1) at the level nearest to ``abar``; None for a style fitted without them."""
        if self.moments is None or self.abars is None:
            return None
        nearest = int((self.abars.logit(1e-6) - torch.tensor(abar).logit(1e-6)).abs().argmin())
        return self.moments[nearest]

    def needed_picture(self) -> Image.Image:
        """The style picture. Raises StyleError for a style without one."""
        if self.picture is None:
            raise StyleError(f"The style '{self.name}' has no picture with it to invert: set start_mix=0.")
        return self.picture
