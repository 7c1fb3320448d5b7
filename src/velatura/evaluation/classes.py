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
from velatura.evaluation.pixels import PictureLike, paired_pixels
from velatura.evaluation.structure import gradient_agreement, invented_edges, local_structure
from velatura.evaluation.style import colour_distance, feature_distance, gram_distance

Score = Callable[..., float]  # of one result and what it is compared with, (1, 3, H, W) each


class PictureMean(Metric):
    """The mean over pictures of a function of a result and what it is compared with, content or style.

    ``update`` takes both as (B, 3, H, W) in [-1, 1] or as one picture each, of any sizes where the function does; the
    order and the batches make no difference. ``compute`` raises ValueError before the first picture.

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

    def __init_subclass__(cls, of: Score, higher_is_better: bool | None) -> None:
        super().__init_subclass__()
        cls.score, cls.higher_is_better = staticmethod(of), higher_is_better

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, results: PictureLike, references: PictureLike) -> None:
        """Add the pictures of a batch, all or none. Raises ValueError and TypeError as the function does."""
        ours, theirs = paired_pixels(results, references)
        singles = (slice(one, one + 1) for one in range(len(ours)))
        scores = [type(self).score(ours[one], theirs[one]) for one in singles]
        for score in scores:
            self.total += score
        self.count += len(scores)

    def compute(self) -> Tensor:
        """The mean over all pictures so far: a number (), float32."""
        if not self.count:
            raise ValueError("no picture has been measured yet")
        return (self.total / self.count).float()


class EdgeF1(PictureMean, of=edge_f1, higher_is_better=True):
    """``edge_f1`` of results and contents; higher keeps more.

    >>> EdgeF1()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(1.)
    """


class GradientAgreement(PictureMean, of=gradient_agreement, higher_is_better=True):
    """``gradient_agreement`` of results and contents; higher keeps more.

    >>> ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    >>> round(GradientAgreement()(ramp, ramp).item(), 3)
    1.0
    """


class LocalStructure(PictureMean, of=local_structure, higher_is_better=True):
    """``local_structure`` of results and contents; higher keeps more.

    >>> LocalStructure()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(1.)
    """


class LpipsHedVGG(PictureMean, of=lpips_hedvgg, higher_is_better=False):
    """``lpips_hedvgg`` of results and contents; lower keeps more. Not LPIPS: other weights, other values.

    >>> LpipsHedVGG()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(0.)
    """


class InventedEdges(PictureMean, of=invented_edges, higher_is_better=False):
    """``invented_edges`` of results and contents; lower is calmer.

    >>> InventedEdges()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(0.)
    """


class LatticeRatio(PictureMean, of=lattice_ratio, higher_is_better=None):
    """``lattice_ratio`` of results and contents; 1 is best, neither higher nor lower.

    >>> LatticeRatio()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(1.)
    """


class GramDistance(PictureMean, of=gram_distance, higher_is_better=False):
    """``gram_distance`` of results and styles; lower is closer.

    >>> GramDistance()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(0.)
    """


class FeatureDistance(PictureMean, of=feature_distance, higher_is_better=False):
    """``feature_distance`` of results and styles; lower is closer.

    >>> round(FeatureDistance()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)).item(), 3)
    0.0
    """


class ColourDistance(PictureMean, of=colour_distance, higher_is_better=False):
    """``colour_distance`` of results and styles; lower is closer.

    >>> ColourDistance()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    tensor(0.)
    """
