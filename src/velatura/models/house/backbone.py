"""The house model as a Backbone: a latent model that has learned to read a picture as a word."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.models.adapters.weights import digest_of
from velatura.models.features.efficientnet_lite import FEATURES, efficientnet_lite0
from velatura.models.features.magenta import STYLE_NUMBERS, style_vectors
from velatura.models.house.fast_painter import ADAPTER_FILE, PROMPT, FastPainter, PaintedStyle, load_adapter
from velatura.models.house.image_encoder import picture_numbers, style_part
from velatura.models.house.stroke_network import STROKES_FILE, StrokeNetwork, load_stroke_network
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

    @cached_property
    def fast_adapter(self) -> dict[str, Tensor] | None:
        """The fast adapter that the model's folder brings; None without one.

        Raises ModelError for an adapter that is damaged or was trained on another UNet.
        """
        path = self._folder / ADAPTER_FILE
        return load_adapter(path, self.fingerprint) if path.is_file() else None

    @cached_property
    def fast_painter(self) -> FastPainter | None:
        """The UNet with the model's fast adapter; None without one. Raises what ``fast_adapter`` raises."""
        adapter = self.fast_adapter
        return None if adapter is None else FastPainter(self.unet, adapter, self.device, self.dtype)

    @cached_property
    def stroke_network(self) -> StrokeNetwork | None:
        """The network of strokes that the model's folder brings; None without one.

        Raises ModelError for a damaged one.
        """
        path = self._folder / STROKES_FILE
        return load_stroke_network(path, self.device) if path.is_file() else None

    @cached_property
    def fast_networks(self) -> Mapping[str, str]:
        """Hashes of the weights that the fast method paints with, by name: its adapter's, and its strokes'."""
        painter = self.fast_painter
        found = {"fast_adapter": painter and painter.digest, "fast_strokes": self.strokes_digest}
        return {name: digest for name, digest in found.items() if digest}

    @property
    def strokes_digest(self) -> str | None:
        """A hash of the stroke network's weights; None without one."""
        return digest_of(self.stroke_network.state_dict()) if self.stroke_network else None

    @property
    def _folder(self) -> Path:
        return Path(str(getattr(self.pipeline, "name_or_path", "") or ""))

    @torch.no_grad()
    def style_vector(self, pixels: Tensor) -> Tensor:
        """The style vector (1, 100), standardised, of a picture (1, 3, H, W): the first of its embedding's numbers."""
        encoder = self.pipeline.image_encoder
        raw = F.pad(style_vectors(pixels.to(self.device)), (0, FEATURES))
        vector: Tensor = encoder.standardise(raw)[:, :STYLE_NUMBERS].float()
        return vector

    def painted_style(self, vector: Tensor) -> PaintedStyle:
        """Style vectors (B, 100), as the fast painter takes them: with the states of their words."""
        word = self.word_of_embedding(F.pad(vector.to(self.device), (0, FEATURES)))
        return PaintedStyle(self.encode_prompt([PROMPT] * len(vector), word).states, vector)
