"""Group normalisation with statistics that tiles of one picture share (URST, Chen et al. 2021, arXiv 2103.11784).

Tiles that are each normalised by themselves come out with contrasts of their own. Here the statistics are taken over
several tiles at once, in every layer, and then hold for all tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

Moments = tuple[Tensor, Tensor]  # means and reciprocal deviations (blocks, groups)


class SharedNorms:
    """What the group normalisations of a network do while they are hooked: their own until the first reference.

    A pass's rows are blocks of one row of each tile (guidance puts conditional and unconditional rows into blocks of
    their own). Passes are told apart by their order, so that several of them may make one prediction.
    """

    def __init__(self) -> None:
        self._tiles = 0
        self._recording = False
        self._moments: dict[tuple[nn.Module, int], Moments] = {}
        self._calls: dict[nn.Module, int] = {}

    def reference(self, tiles: int) -> None:
        """The next prediction is for so many ``tiles``, whose common statistics are kept."""
        self._tiles, self._recording = tiles, True
        self._moments, self._calls = {}, {}

    def follow(self, tiles: int) -> None:
        """The next prediction is for so many ``tiles``, which take the statistics of the reference."""
        self._tiles, self._recording = tiles, False
        self._calls = {}

    def normalised(self, norm: nn.GroupNorm, x: Tensor) -> Tensor | None:
        """``x`` (N, C, ...) normalised by common statistics; None before the first reference."""
        if not self._tiles:
            return None
        call = self._calls.get(norm, 0)
        self._calls[norm] = call + 1
        if self._recording:
            grouped = x.float().reshape(len(x) // self._tiles, self._tiles, norm.num_groups, -1)
            variance, mean = torch.var_mean(grouped, (1, 3), correction=0)
            self._moments[norm, call] = (mean, (variance + norm.eps).rsqrt())
        mean, scale = (
            part.repeat_interleave(norm.num_channels // norm.num_groups, 1) for part in self._moments[norm, call]
        )
        weight, bias = (1.0, 0.0) if not norm.affine else (norm.weight, norm.bias)
        scale = scale * weight
        shift = bias - mean * scale
        shape = (len(x), norm.num_channels, *[1] * (x.dim() - 2))
        scale, shift = (part.repeat_interleave(self._tiles, 0).reshape(shape).to(x) for part in (scale, shift))
        return torch.addcmul(shift, x, scale)


@contextmanager
def shared_norms(network: nn.Module) -> Iterator[SharedNorms]:
    """While open, the group normalisations of ``network`` take their statistics as the SharedNorms yielded says."""
    shared = SharedNorms()

    def hook(norm: nn.GroupNorm, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor | None:
        return shared.normalised(norm, inputs[0])

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                stack.callback(module.register_forward_hook(hook).remove)
        yield shared
