"""InST's inversion module as published, with the layer that its dropout acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from velatura.methods.s2prest.word_map import WordMap

PARTS = ("hidden_weight", "hidden_bias", "out_weight", "out_bias")


@dataclass(frozen=True)
class PublishedModule:
    """v = W h + b of h = W_o W_v e + b_o: what is left of the published module on a sequence of one token.

    ``hidden_weight`` is W_o W_v, (E, E), ``hidden_bias`` b_o, (E,), ``out_weight`` W, (width, E), ``out_bias`` b,
    (width,). A style keeps them beside its word map, which has no h for dropout to act on.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor

    def word_map(self, kept: Tensor | None = None) -> WordMap:
        """The map from e to v, composed in float64; ``kept`` (E,) multiplies h."""
        weight, bias = self.hidden_weight.double(), self.hidden_bias.double()
        if kept is not None:
            weight, bias = kept.double()[:, None] * weight, kept.double() * bias
        out = self.out_weight.double()
        return WordMap((out @ weight).float()[None], (out @ bias + self.out_bias.double()).float()[None])

    def tensors(self) -> dict[str, Tensor]:
        """The module as a style holds it."""
        return {f"module.{part}": getattr(self, part).float() for part in PARTS}

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> PublishedModule | None:
        """The module in a style's tensors; None where the style was not imported."""
        if any(f"module.{part}" not in tensors for part in PARTS):
            return None
        return PublishedModule(*(tensors[f"module.{part}"] for part in PARTS))
