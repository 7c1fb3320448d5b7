"""InST's inversion module in the form it takes on a sequence of one token: an affine map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.errors import StyleError

WEIGHT, BIAS = "word.weight", "word.bias"


@dataclass(frozen=True)
class WordMap:
    """v(I) = W e(I) + b: image embeddings (B, E) to token embeddings (B, n, width) (Zhang et al. 2023, eq. 3).

    With one token every softmax of the published module's two attentions is 1, so the module is this map.
    ``weight`` is W, (n, width, E); ``bias`` is b, (n, width).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, embeddings: Tensor) -> Tensor:
        """The words (B, n, width) of image embeddings (B, E)."""
        return torch.einsum("nwe,be->bnw", self.weight, embeddings) + self.bias

    @property
    def width(self) -> int:
        """The length of a token embedding."""
        return self.bias.shape[-1]

    def to(self, device: torch.device) -> WordMap:
        """The map on a device."""
        return WordMap(self.weight.to(device), self.bias.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """The map as a style holds it."""
        return {WEIGHT: self.weight, BIAS: self.bias}

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> WordMap:
        """The map in a style's tensors. Raises StyleError where there is none."""
        if WEIGHT not in tensors or BIAS not in tensors:
            raise StyleError("The style holds no learned word: fit it again.")
        return WordMap(tensors[WEIGHT], tensors[BIAS])

    @staticmethod
    def mixed(maps: Sequence[WordMap], shares: Sequence[float]) -> WordMap:
        """The map whose words are the weighted sums of the maps' words. Raises StyleError for unequal shapes."""
        if len({word_map.weight.shape for word_map in maps}) > 1:
            raise StyleError("These styles have different numbers of vectors and cannot be mixed: fit them alike.")
        pairs = list(zip(maps, shares, strict=True))
        return WordMap(
            torch.stack([share * word_map.weight for word_map, share in pairs]).sum(0),
            torch.stack([share * word_map.bias for word_map, share in pairs]).sum(0),
        )
