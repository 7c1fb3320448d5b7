"""Variants of classifier-free guidance: projection, a norm limit, a timestep interval, weights of latent channels.

With the two predictions of x0 of a step, conditional D_c and unconditional D_u, (B, C, h, w) each, guidance of scale w
is D_c + (w - 1) (D_c - D_u) (Ho & Salimans 2022). The variants change the difference D_c - D_u, so that w = 1 is always
the conditional prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.errors import SettingError
from velatura.models.noise_schedule import predict_noise, predict_x0

PLAIN = "plain"
EXAMPLE = "parallel=0.5,limit=0.3,interval=0:0.9,channels=1:0.5:0.5:1"
WINDOW = 5  # latents: the side of the square over which a local mean is taken


@dataclass(frozen=True)
class GuidanceScaling:
    """How classifier-free guidance is changed; the defaults are plain guidance.

    - ``parallel`` (0..1): APG's eta (Sadat et al. 2024, arXiv 2410.02416), the weight of the part of the difference
      that is parallel to the conditional prediction.
    - ``limit`` (over 0): APG's r, the largest norm of a picture's difference, as a root mean square over its elements,
      so that one value holds for every size.
    - ``interval``: the timesteps in which guidance acts, as shares of all from 0 (clean) to 1 (noisiest)
      (Kynkäänniemi et al. 2024, arXiv 2404.07724).
    - ``channels`` (0..10): a weight for each latent channel's difference; none: 1 for all.
    - ``local_mean`` (0..10): a weight for each channel's mean over 5 x 5 latents. Where channels are coefficients of
      8 x 8 blocks, a constant AC coefficient is a grid of period 8 px.

    Raises SettingError for values out of range.
    """

    parallel: float = 1.0
    limit: float = math.inf
    interval: tuple[float, ...] = (0.0, 1.0)
    channels: tuple[float, ...] = ()
    local_mean: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.parallel <= 1:
            raise SettingError(f"parallel in guidance_scaling must be from 0 to 1, not {self.parallel:g}.")
        if not self.limit > 0:
            raise SettingError(f"limit in guidance_scaling must be over 0, not {self.limit:g}.")
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise SettingError("interval in guidance_scaling must be two rising shares from 0 to 1, as 0:0.9.")
        if not all(0 <= weight <= 10 for weight in self.channels + self.local_mean):
            raise SettingError("channels and local_mean in guidance_scaling must be weights from 0 to 10.")

    @classmethod
    def parse(cls, text: str) -> GuidanceScaling:
        """Read "NAME=VALUE,…" with ":" between several numbers, or "plain" (an empty text is plain too).

        Raises SettingError for anything else.

        >>> GuidanceScaling.parse("limit=0.3,interval=0:0.9").interval
        (0.0, 0.9)
        """
        given: dict[str, Any] = {}
        known = {field.name: field.default for field in fields(cls)}
        for entry in text.split(",") if text not in ("", PLAIN) else []:
            name, _, value = (part.strip() for part in entry.partition("="))
            try:
                numbers = tuple(float(number) for number in value.split(":"))
                given[name] = numbers if isinstance(known[name], tuple) else float(value)
            except (KeyError, ValueError):
                raise SettingError(
                    f"guidance_scaling cannot be read at '{entry}': write {PLAIN}, or one or more of "
                    f"{', '.join(known)}, as in {EXAMPLE}."
                ) from None
        return cls(**given)

    def acts_at(self, timestep_share: float) -> bool:
        """Whether guidance acts at a timestep, given as its share of all (0 clean, 1 noisiest)."""
        return self.interval[0] <= timestep_share <= self.interval[1]

    def check_channels(self, count: int) -> None:
        """Raise SettingError unless there is a weight for each of ``count`` latent channels, or none."""
        for name, weights in (("channels", self.channels), ("local_mean", self.local_mean)):
            if weights and len(weights) != count:
                raise SettingError(
                    f"{name} in guidance_scaling has {len(weights)} weights, but this model's latents {count} channels."
                )

    def scaled(self, difference: Tensor, conditional: Tensor) -> Tensor:
        """The difference D_c - D_u (B, C, h, w) after limit, projection and weights, given D_c."""
        difference = limited(difference, self.limit)
        if self.parallel != 1:
            parallel, orthogonal = projected(difference, conditional)
            difference = orthogonal + self.parallel * parallel
        if self.local_mean:
            difference = difference + (_per_channel(self.local_mean, difference) - 1) * local_means(difference)
        return difference * _per_channel(self.channels, difference) if self.channels else difference


def guided_x0(conditional: Tensor, unconditional: Tensor, scale: float, scaling: GuidanceScaling) -> Tensor:
    """D_c + (w - 1) times the scaled difference, for predictions of x0 (B, C, h, w)."""
    return conditional + (scale - 1) * scaling.scaled(conditional - unconditional, conditional)


def scaled_guidance(
    latents: Tensor, noises: tuple[Tensor, Tensor], abar: float, scale: float, scaling: GuidanceScaling
) -> Tensor:
    """``guided_x0`` as noise, of predicted ``noises`` (conditional, unconditional) of ``latents`` at level ``abar``."""
    conditional, unconditional = (predict_x0(latents, noise, abar) for noise in noises)
    return predict_noise(latents, guided_x0(conditional, unconditional, scale, scaling), abar)


def limited(difference: Tensor, limit: float) -> Tensor:
    """APG's rescaling: each picture's difference times min(1, limit / norm), the norm being a root mean square."""
    if limit == math.inf:
        return difference
    norm = difference.square().mean((1, 2, 3), keepdim=True).sqrt()
    return difference * (limit / norm.clamp(min=1e-12)).clamp(max=1.0)


def projected(difference: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of each picture's difference parallel and orthogonal to ``direction``; their sum is the difference."""
    product = (difference * direction).sum((1, 2, 3), keepdim=True)
    parallel = product / direction.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12) * direction
    return parallel, difference - parallel


def local_means(values: Tensor) -> Tensor:
    """Means over 5 x 5 latents of each channel; windows are cut off at the borders."""
    return F.avg_pool2d(values, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)


def _per_channel(weights: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(weights, dtype=like.dtype, device=like.device)[:, None, None]
