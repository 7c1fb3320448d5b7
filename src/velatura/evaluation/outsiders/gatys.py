"""Gatys et al. 2016: pixels optimised by L-BFGS against Gram matrices and deep features of a VGG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from velatura.evaluation.outsiders.base import Outsider
from velatura.losses.gram import STYLE_LAYERS, gram_matrix, relative_gram_distance
from velatura.methods.validation import Steps
from velatura.models.features.vgg import hed_trunk

CONTENT_LAYER = "relu4_1"


@dataclass(frozen=True)
class Gatys(Outsider):
    """The first neural style transfer, over the same HED-trained VGG16 that ``gram_distance`` looks at.

    That measure is what it minimises: its ``gram`` is a bound, not a fair score. It starts from the content and takes
    ``iterations`` of L-BFGS; ``content_weight`` is the weight of the relative distance of features, the style's is 1.
    """

    name: ClassVar[str] = "gatys"
    iterations: Steps = 60
    content_weight: float = 0.5

    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The content's pixels after the optimisation."""
        pixels = content.clone(memory_format=torch.contiguous_format).requires_grad_()  # as L-BFGS wants its numbers
        objective = self._objective(content, style)
        optimizer = torch.optim.LBFGS(
            [pixels], max_iter=self.iterations, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = objective(pixels)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return pixels.detach().clamp(-1, 1)

    def _objective(self, content: Tensor, style: Tensor) -> Callable[[Tensor], Tensor]:
        trunk, layers = hed_trunk(), (*STYLE_LAYERS, CONTENT_LAYER)
        with torch.no_grad():
            wanted = {layer: gram_matrix(maps) for layer, maps in trunk.features(style, STYLE_LAYERS).items()}
            kept = trunk.features(content, (CONTENT_LAYER,))[CONTENT_LAYER]

        def objective(pixels: Tensor) -> Tensor:
            maps = trunk.features(pixels, layers)
            grams = {layer: gram_matrix(maps[layer]) for layer in STYLE_LAYERS}
            drift = (maps[CONTENT_LAYER] - kept).square().mean() / kept.square().mean()
            return relative_gram_distance(grams, wanted) + self.content_weight * drift

        return objective
