"""The metrics as torchmetrics' ``Metric``: updated with batches, the mean over all pictures at the end.

    scores = MetricCollection([EdgeF1(), LocalStructure()])
    scores.update(results, contents)
    scores.compute()

Every class is a function of ``velatura.evaluation`` by picture, whose docstring has range and source. They keep their
numbers on the device they are moved to, and add up over processes as torchmetrics does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from velatura.evaluation.content import edge_f1, lpips_hedvgg
from velatura.evaluation.lattice import lattice_ratio
from velatura.evaluation.structure import gradient_agreement, invented_edges, local_structure
from velatura.evaluation.style import colour_distance, feature_distance, gram_distance

Score = Callable[..., float]  # of one result and what it is compared with, (1, 3, H, W) each


class PictureMean(Metric):
    """The mean over pictures of a function of a result and what it is compared with, content or style.

    ``update`` takes both as (B, 3, H, W) in [-1, 1], of any sizes where the function does; the order and the batches
    make no difference. ``compute`` raises ValueError before the first picture.

    >>> import torch
    >>> metric = EdgeF1()
    >>> metric.update(torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32))
    >>> metric.compute().item()
    1.0
    """

    full_state_update = False
    is_differentiable = False
    score: ClassVar[Score]
    total: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, results: Tensor, references: Tensor) -> None:
        """Add the pictures of a batch. Raises ValueError for unequal numbers of pictures."""
        if len(results) != len(references):
            raise ValueError(
                f"{len(results)} results and {len(references)} pictures to compare them with: give one each"
            )
        for one in range(len(results)):
            self.total += type(self).score(results[one : one + 1], references[one : one + 1])
        self.count += len(results)

    def compute(self) -> Tensor:
        """The mean over all pictures so far: a number (), float32."""
        if not self.count:
            raise ValueError("no picture has been measured yet")
        return (self.total / self.count).float()


class EdgeF1(PictureMean):
    """``edge_f1`` of results and contents; higher keeps more."""

    higher_is_better = True
    score = staticmethod(edge_f1)


class GradientAgreement(PictureMean):
    """``gradient_agreement`` of results and contents; higher keeps more."""

    higher_is_better = True
    score = staticmethod(gradient_agreement)


class LocalStructure(PictureMean):
    """``local_structure`` of results and contents; higher keeps more."""

    higher_is_better = True
    score = staticmethod(local_structure)


class LpipsHedVGG(PictureMean):
    """``lpips_hedvgg`` of results and contents; lower keeps more. Not LPIPS: other weights, other values."""

    higher_is_better = False
    score = staticmethod(lpips_hedvgg)


class InventedEdges(PictureMean):
    """``invented_edges`` of results and contents; lower is calmer."""

    higher_is_better = False
    score = staticmethod(invented_edges)


class LatticeRatio(PictureMean):
    """``lattice_ratio`` of results and contents; lower is better, 1 is no grid."""

    higher_is_better = False
    score = staticmethod(lattice_ratio)


class GramDistance(PictureMean):
    """``gram_distance`` of results and styles; lower is closer."""

    higher_is_better = False
    score = staticmethod(gram_distance)


class FeatureDistance(PictureMean):
    """``feature_distance`` of results and styles; lower is closer."""

    higher_is_better = False
    score = staticmethod(feature_distance)


class ColourDistance(PictureMean):
    """``colour_distance`` of results and styles; lower is closer."""

    higher_is_better = False
    score = staticmethod(colour_distance)
