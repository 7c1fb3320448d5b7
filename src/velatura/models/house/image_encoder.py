"""The house model's image embedding, and its linear map to a token embedding."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from velatura.models.features.efficientnet_lite import FEATURES, EfficientNetLite0
from velatura.models.features.magenta import STYLE_NUMBERS, style_vectors

EMBEDDING = STYLE_NUMBERS + FEATURES


def picture_numbers(pixels: Tensor, network: EfficientNetLite0) -> Tensor:
    """Magenta's style vectors and EfficientNet-Lite0's features of pictures (B, 3, H, W) in [-1, 1]: (B, 1380), raw."""
    return torch.cat([style_vectors(pixels), network.features(pixels)], dim=1)


class HouseImageEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Standardised image embeddings (B, 1380), and their map to token embeddings.

    An embedding is Magenta's style vector, then EfficientNet-Lite0's features, each number standardised over the
    training pictures. ``word`` maps an embedding, whole or with the second part zeroed, to a token embedding of the
    text encoder; it is trained with the rest of the model.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, word_width: int = 192) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(EMBEDDING))
        self.register_buffer("std", torch.ones(EMBEDDING))
        self.word = nn.Linear(EMBEDDING, word_width)
        nn.init.normal_(self.word.weight, std=0.02 / EMBEDDING**0.5)
        nn.init.zeros_(self.word.bias)

    def standardise(self, numbers: Tensor) -> Tensor:
        """Raw numbers (B, 1380) of ``picture_numbers`` to an embedding of the same shape."""
        standardised: Tensor = ((numbers.to(self.mean) - self.mean) / self.std).clamp(-5, 5)
        return standardised

    def forward(self, embeddings: Tensor) -> Tensor:
        """Token embeddings (B, word_width) of picture embeddings (B, 1380)."""
        words: Tensor = self.word(embeddings)
        return words


def style_part(embeddings: Tensor) -> Tensor:
    """The embedding with everything but the style vector set to its mean (zero)."""
    kept = torch.zeros_like(embeddings)
    kept[:, :STYLE_NUMBERS] = embeddings[:, :STYLE_NUMBERS]
    return kept
