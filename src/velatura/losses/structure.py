"""Distance to the structure of the original content: its local contrast, whatever became of its light and colours."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.losses.base import LossInput, Targets
from velatura.losses.detail import local_mean
from velatura.picture.luma import luma

WINDOWS = (7, 21, 63)  # px: sides of squares
FLAT = 0.15  # of the whole picture's standard deviation: local contrast far below it counts as flat


def normalised(pixels: Tensor) -> list[Tensor]:
    """For each window, the luma (B, 1, H, W) of pixels (B, 3, H, W) with its mean in the window taken off, divided by
    its deviation there: about -1 to 1, and near 0 where the picture is flat.

    A rising linear change of luma leaves it as it is.
    """
    light = luma(pixels)[:, None]
    floor = (FLAT**2 * light.var((1, 2, 3), keepdim=True)).detach().clamp(min=1e-6)
    moments = torch.cat([light, light.square()], 1)
    found = []
    for window in WINDOWS:
        mean, square = local_mean(moments, window).chunk(2, 1)
        found.append((light - mean) / ((square - mean.square()).clamp(min=0) + floor).sqrt())
    return found


class LocalStructure:
    """Half the mean squared difference of locally normalised luma to the original content's, over three window sizes.

    But for its floor it is one minus the local correlation coefficient (Avants et al. 2008, and the structure term of
    SSIM, Wang et al. 2004): the sign of edges counts, light and colour do not; what appears in flat places does.
    """

    name = "structure"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        original = targets.content.pixels if targets.original is None else targets.original
        self.wanted = normalised(original)

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        found = zip(normalised(result.pixels), self.wanted, strict=True)
        return torch.stack([(own - wanted).square().mean() for own, wanted in found]).mean() / 2
