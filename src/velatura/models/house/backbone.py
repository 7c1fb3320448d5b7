"""The house model as a Backbone: a latent model that has learned to read a picture as a word."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.models.features.efficientnet_lite import efficientnet_lite0
from velatura.models.house.image_encoder import picture_numbers, style_part
from velatura.models.latent import LatentBackbone


class HouseBackbone(LatentBackbone):
    """A latent model whose folder brings an image encoder with a learned map from pictures to words."""

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Standardised image embeddings (B, 1380): Magenta's style vector, then EfficientNet-Lite0's features."""
        numbers = picture_numbers(pixels.to(self.device), efficientnet_lite0(self.device))
        embeddings: Tensor = self.pipeline.image_encoder.standardise(numbers)
        return embeddings.float()

    @torch.no_grad()
    def word_of_embedding(self, embeddings: Tensor) -> Tensor:
        """Token embeddings (B, 1, W) of the style vectors in image embeddings (B, 1380); a linear map."""
        encoder = self.pipeline.image_encoder
        words: Tensor = encoder(style_part(embeddings).to(encoder.dtype)).float()
        return words[:, None]

    def style_word(self, pixels: Tensor) -> Tensor:
        """The token embedding (1, 1, W) that describes the style of a picture (1, 3, H, W)."""
        return self.word_of_embedding(self.encode_image(pixels))
