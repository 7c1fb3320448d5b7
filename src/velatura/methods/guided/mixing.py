"""A style of loss-guided diffusion as a mix: its parts' statistics, pictures and prompts, weighted by their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.losses import PICTURE_LOSSES, StyleStatistics
from velatura.losses.statistics import mixed_statistics
from velatura.methods.guided.fitting import CPU, GuidedStyle
from velatura.models.backbone import PLACEHOLDER, Backbone, Conditioning, TextConditioned
from velatura.style import Style
from velatura.style.mixing import parts_of, rescaled


@dataclass(frozen=True, eq=False)
class GuidedMix:
    """A style's ``parts`` with shares that sum to 1: fitted to pictures or in words; one part where it is no mix."""

    style: Style
    parts: Sequence[tuple[GuidedStyle, float]]

    @staticmethod
    def of(style: Style, device: torch.device = CPU) -> GuidedMix:
        """The view of a style, its statistics on ``device``."""
        return GuidedMix(style, [(GuidedStyle.of(part, device), share) for part, share in parts_of(style)])

    @property
    def in_words(self) -> bool:
        """Whether no part has a picture."""
        return all(part.text for part, _ in self.parts)

    @property
    def pictured(self) -> list[tuple[GuidedStyle, float]]:
        """The parts that are not in words, with shares that sum to 1."""
        return rescaled([(part, share) for part, share in self.parts if not part.text])

    @property
    def statistics(self) -> StyleStatistics | None:
        """The weighted statistics that the fits kept; None for a style in words."""
        kept = [(part.statistics, share) for part, share in self.pictured if part.statistics is not None]
        return mixed_statistics(rescaled(kept)) if kept else None

    def losses_off(self, weights: Mapping[str, float]) -> tuple[str, ...]:
        """The losses of some weight that need a style picture, where the style is in words."""
        return tuple(name for name, weight in weights.items() if weight and name in PICTURE_LOSSES and self.in_words)

    def acts_in_prompt(self, prompt: str, backbone: Backbone) -> bool:
        """Whether a part has words, or a picture's word, that a model's ``prompt`` takes."""
        if PLACEHOLDER not in prompt or not isinstance(backbone, TextConditioned):
            return False
        return any(part.text or part.word is not None for part, _ in self.parts)

    def conditioning(self, prompt: str, backbone: Backbone) -> Conditioning:
        """The conditioning of a prompt whose "*" stands for the style: for the pictures' words, summed by their shares,
        and for the text of parts in words, whose conditionings are summed.

        A part without either takes the empty prompt. A model without prompts has its unconditional one alone.
        """
        if not isinstance(backbone, TextConditioned):
            return backbone.unconditional()
        words = [(part.word, share) for part, share in self.parts if part.word is not None]
        rows: list[tuple[Conditioning, float]] = []
        if words:
            word = torch.stack([share * word for word, share in rescaled(words)]).sum(0)
            rows.append((backbone.encode_prompt([prompt], word), sum(share for _, share in words)))
        for part, share in self.parts:
            if part.word is None:
                text = prompt.replace(PLACEHOLDER, part.text) if part.text else ""
                rows.append((backbone.encode_prompt([text]), share))
        if len(rows) == 1:
            return rows[0][0]
        return Conditioning.weighted_sum([row for row, _ in rows], [share for _, share in rows])


def pictures_at(mix: GuidedMix, side: int, device: torch.device) -> list[tuple[Tensor, float]]:
    """The pictures (1, 3, h, w) at a short side of at most ``side`` pixels, with shares that sum to 1."""
    pictures = [(part.pixels(side, device), share) for part, share in mix.pictured]
    return rescaled([(picture, share) for picture, share in pictures if picture is not None])
