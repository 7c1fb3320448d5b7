"""The random captions and image embeddings under which training pictures are denoised."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from velatura.models.house.image_encoder import style_part
from velatura.training.captions import PLACEHOLDER, Description, caption
from velatura.training.denoiser import DenoiserRecipe


class Conditions(NamedTuple):
    """Token ``ids`` (B, L), the places ``at`` (B, L) of their placeholder, image ``embeddings`` (B, 1380) for it, and
    which pictures are ``recoloured`` (B,).
    """

    ids: Tensor
    at: Tensor
    embeddings: Tensor
    recoloured: Tensor


@dataclass
class ConditioningSampler:
    """Draws captions, image embeddings and recolourings for training pictures from the generator ``chance``."""

    recipe: DenoiserRecipe
    tokenizer: CLIPTokenizer
    chance: random.Random

    def draw(self, descriptions: Sequence[Description], embeddings: Tensor) -> Conditions:
        """The conditions of pictures with these descriptions and standardised embeddings (B, 1380)."""
        ids, at = self._tokens([self._caption(description) for description in descriptions], embeddings.device)
        return Conditions(ids, at, self._thinned(embeddings), self._recoloured(at))

    def fixed(self, text: str, embeddings: Tensor) -> Conditions:
        """One ``text`` for all pictures, their standardised embeddings (B, 1380) whole; nothing is recoloured."""
        ids, at = self._tokens([text] * len(embeddings), embeddings.device)
        return Conditions(ids, at, embeddings, torch.zeros(len(ids), dtype=torch.bool, device=ids.device))

    def _caption(self, description: Description) -> str:
        if self.chance.random() < self.recipe.empty_share:
            return ""
        return caption(description, self.chance.random() < self.recipe.word_share, self.chance)

    def _tokens(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """The texts' tokens (B, L), and where they are the placeholder."""
        encoded = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        ids: Tensor = encoded.input_ids.to(device)
        return ids, ids == self.tokenizer.convert_tokens_to_ids(f"{PLACEHOLDER}</w>")

    def _thinned(self, embeddings: Tensor) -> Tensor:
        """Some of the embeddings with their style part only."""
        style_only = torch.tensor([self.chance.random() < self.recipe.style_only_share for _ in embeddings])
        return torch.where(style_only.to(embeddings.device)[:, None], style_part(embeddings), embeddings)

    def _recoloured(self, at: Tensor) -> Tensor:
        """Some of the pictures whose caption has the placeholder."""
        chosen = torch.tensor([self.chance.random() < self.recipe.recolour_share for _ in at])
        return at.any(1) & chosen.to(at.device)
