"""CSD, the cosine of style descriptors: a CLIP vision tower trained on styles, with a projection of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from velatura.errors import ModelError
from velatura.evaluation.pixels import PictureLike, paired_pixels
from velatura.evaluation.published.weights import PublishedWeights
from velatura.models.encoders.clip import middle_square, prepared
from velatura.picture import pixels_to_image

WEIGHTS = PublishedWeights(
    "CSD similarity",
    (),
    "csd_vit_l.safetensors",
    "https://huggingface.co/tomg-group-umd/CSD-ViT-L/resolve/main/model.safetensors",
)

HEAD_WIDTH = 64  # of every CLIP vision tower
# Names in OpenAI's layout, in which the file is, and in transformers'.
NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.": "embeddings.patch_embedding.",
    "ln_pre.": "pre_layrnorm.",
    "ln_post.": "post_layernorm.",
    "transformer.resblocks.": "encoder.layers.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}


@torch.no_grad()
def csd_similarity(results: PictureLike, styles: PictureLike) -> float:
    """CSD similarity (Somepalli et al. 2024): pictures (B, 3, H, W) in [-1, 1]; -1 to 1, higher is closer in style.

    The mean over the batch of the cosines of style descriptors; pictures are scaled and cut to their middle square.
    Raises ModelError where the weights are missing or are others.
    """
    WEIGHTS.check()
    results, styles = paired_pixels(results, styles)
    descriptor = _descriptor().to(results.device)
    found, wanted = (
        torch.cat([descriptor(one) for one in pictures.chunk(len(pictures))]) for pictures in (results, styles)
    )
    return F.cosine_similarity(found, wanted).mean().item()


@dataclass(frozen=True, eq=False)
class StyleDescriptor:
    """A CLIP vision tower and the ``projection`` (width, E) of its class token to a style descriptor."""

    tower: Any
    projection: Tensor

    def to(self, device: torch.device) -> StyleDescriptor:
        """The same on a device."""
        return StyleDescriptor(self.tower.to(device), self.projection.to(device))

    def __call__(self, picture: Tensor) -> Tensor:
        """The normalised descriptor (1, E) of a picture (1, 3, H, W) in [-1, 1]."""
        side = self.tower.config.image_size
        square = middle_square(pixels_to_image(picture), side).to(self.projection.device)
        return F.normalize(self.tower(prepared(square)).pooler_output @ self.projection, dim=-1)


def style_descriptor(state: Mapping[str, Tensor]) -> StyleDescriptor:
    """The network of CSD's weights, its sizes read from them. Raises ModelError for weights of something else."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    backbone = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    try:
        width, patch = backbone["class_embedding"].shape[0], backbone["conv1.weight"].shape[-1]
        cells = round((backbone["positional_embedding"].shape[0] - 1) ** 0.5)
        config = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=backbone["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            num_hidden_layers=len({key.split(".")[2] for key in backbone if key.startswith("transformer.")}),
            num_attention_heads=width // HEAD_WIDTH,
            image_size=cells * patch,
            patch_size=patch,
        )
        tower = CLIPVisionModel(config).float().eval().requires_grad_(False)
        tower.load_state_dict(_renamed(backbone, tower.state_dict()))
        return StyleDescriptor(tower, state["last_layer_style"].float())
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{WEIGHTS.path} does not hold CSD's weights ({error}): download {WEIGHTS.url}.") from None


def _renamed(backbone: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in OpenAI's layout under the names that transformers ``wanted``."""
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in wanted) else ""
    found = {name: value for name, value in wanted.items() if name.endswith("position_ids")}
    for key, value in backbone.items():
        name = key
        for old, new in NAMES.items():
            name = name.replace(old, new)
        packed = re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", name)
        if packed is None:
            found[prefix + name] = value.float()
            continue
        for letter, part in zip("qkv", value.float().chunk(3), strict=True):
            found[f"{prefix}{packed[1]}.self_attn.{letter}_proj.{packed[2]}"] = part
    return found


@lru_cache(maxsize=1)
def _descriptor() -> StyleDescriptor:
    return style_descriptor(load_file(WEIGHTS.path))
