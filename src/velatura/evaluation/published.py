"""Published metrics under their published names: only with the published weights, which do not come with the package.

Each says what it needs and how to get it; the network is never used without being asked for. Offline there are the
project's own measures, under their own names (``lpips_hedvgg``, ``feature_distance``, …).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from velatura.errors import ModelError


@dataclass(frozen=True)
class Needs:
    """What a metric needs: installed ``packages``, and the ``file`` that ``url`` has, among torch.hub's checkpoints."""

    metric: str
    packages: Sequence[str]
    file: str
    url: str

    @property
    def path(self) -> Path:
        """Where the weights are looked for."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def check(self) -> None:
        """Raise ModelError, saying how to get it, for what is missing."""
        missing = [package for package in self.packages if find_spec(package.replace("-", "_")) is None]
        if missing:
            raise ModelError(f"{self.metric} needs {' and '.join(missing)}: pip install {' '.join(missing)}.")
        if not self.path.is_file():
            raise ModelError(f"{self.metric} needs its published weights: download {self.url} to {self.path}.")


LPIPS = Needs("LPIPS", ("torchvision",), "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth")
FID = Needs(
    "FID",
    ("torch-fidelity",),
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)


@torch.no_grad()
def lpips(results: Tensor, contents: Tensor) -> float:
    """LPIPS (Zhang et al. 2018) with ImageNet's VGG16: pictures (B, 3, H, W) in [-1, 1]; from 0 up, lower is closer.

    The mean over the batch, by torchmetrics. Raises ModelError where the weights or torchvision are missing.
    """
    LPIPS.check()
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    value: Tensor = learned_perceptual_image_patch_similarity(results.clamp(-1, 1), contents.clamp(-1, 1), "vgg")
    return value.item()


@torch.no_grad()
def fid(results: Tensor, styles: Tensor) -> float:
    """FID (Heusel et al. 2017) of two sets of pictures (N, 3, H, W) in [-1, 1], N at least 2; lower is closer.

    By torchmetrics over torch-fidelity's Inception. Published figures are of thousands of pictures: FID falls with
    their number. Raises ModelError where the weights or torch-fidelity are missing.
    """
    FID.check()
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(normalize=True)
    metric.update((styles.clamp(-1, 1) + 1) / 2, real=True)
    metric.update((results.clamp(-1, 1) + 1) / 2, real=False)
    return float(metric.compute())


def art_fid(content_distance: float, style_distance: float) -> float:
    """(1 + LPIPS) (1 + FID), the form of ArtFID (Wright & Ommer 2022); from 1 up, lower is better.

    It is ArtFID only of LPIPS and of an FID with ArtFID's own Inception, trained on paintings. Raises ValueError for
    distances that are negative or not finite.

    >>> art_fid(0.5, 19.0)
    30.0
    """
    if not all(math.isfinite(one) and one >= 0 for one in (content_distance, style_distance)):
        raise ValueError(f"distances must be finite and not negative, not {content_distance} and {style_distance}")
    return (1 + content_distance) * (1 + style_distance)
