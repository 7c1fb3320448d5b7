"""Injection of features and self-attention from a source pass into another (Tumanyan et al. 2023; DiffStyler).

Nothing of the UNet is replaced: hooks stand behind one residual block's last convolution and behind the q and k
projections of the decoder's self-attentions, and are gone when the context closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Recording = dict[str, Tensor]


@dataclass(frozen=True)
class Sites:
    """Where to inject: names of the feature module and of the self-attentions."""

    feature: str
    attentions: tuple[str, ...]

    def modules(self, unet: Any) -> dict[str, nn.Module]:
        """The modules behind which hooks stand now, by name (adapters may have wrapped them)."""
        names = [self.feature, *(f"{name}.{part}" for name in self.attentions for part in ("to_q", "to_k"))]
        return {name: unet.get_submodule(name) for name in names}


def injection_sites(unet: Any) -> Sites:
    """Sites by decoder depth: in the first up block with attention its second residual block and all but its first
    self-attention, in every later up block all self-attentions.
    """
    attending = [index for index, block in enumerate(unet.up_blocks) if hasattr(block, "attentions")]
    first = attending[0]
    attentions = [
        f"up_blocks.{block}.attentions.{index}.transformer_blocks.{layer}.attn1"
        for block in attending
        for index, attention in enumerate(unet.up_blocks[block].attentions)
        if not (block == first and index == 0)
        for layer in range(len(attention.transformer_blocks))
    ]
    return Sites(f"up_blocks.{first}.resnets.1.conv2", tuple(attentions))


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], change: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, module in modules.items():

            def hook(_module: nn.Module, _inputs: Any, output: Tensor, name: str = name) -> Tensor | None:
                return change(name, output)

            stack.callback(module.register_forward_hook(hook).remove)
        yield


@dataclass(frozen=True)
class Injection:
    """How much of the source goes in: its features or not, and the share r of its q and k."""

    feature: bool
    attention: float

    def share(self, name: str, sites: Sites) -> float:
        """How much of the source goes in behind one module, 0..1."""
        return float(self.feature) if name == sites.feature else self.attention

    def modules(self, unet: Any, sites: Sites) -> dict[str, nn.Module]:
        """The modules behind which something goes in."""
        return {name: module for name, module in sites.modules(unet).items() if self.share(name, sites) > 0}


EVERYTHING = Injection(True, 1.0)


def blended(output: Tensor, source: Tensor, share: float) -> Tensor:
    """``output`` (B, …) with ``share`` of the source (1, …) in every row."""
    return torch.lerp(output, source.to(output).expand_as(output), share)


@contextmanager
def recorded(unet: Any, sites: Sites, injection: Injection = EVERYTHING) -> Iterator[Recording]:
    """While open, keeps what passes the sites that ``injection`` will ask for."""
    kept: Recording = {}

    def keep(name: str, output: Tensor) -> None:
        kept[name] = output.detach()

    with _hooked(injection.modules(unet, sites), keep):
        yield kept


@contextmanager
def injected(unet: Any, sites: Sites, source: Recording, injection: Injection) -> Iterator[None]:
    """While open, every row of a pass gets the recorded source."""

    def change(name: str, output: Tensor) -> Tensor:
        return blended(output, source[name], injection.share(name, sites))

    with _hooked(injection.modules(unet, sites), change):
        yield


@contextmanager
def injected_from_first_row(unet: Any, sites: Sites, injection: Injection) -> Iterator[None]:
    """While open, all rows of a pass but the first get what the first has (the published arrangement)."""

    def change(name: str, output: Tensor) -> Tensor:
        return torch.cat([output[:1], blended(output[1:], output[:1], injection.share(name, sites))])

    with _hooked(injection.modules(unet, sites), change):
        yield


@dataclass(frozen=True)
class Schedule:
    """When to inject: over which share of the steps, and q and k wholly ("full") or less and less ("adaptive")."""

    feature_share: float = 0.8
    attention_share: float = 0.5
    fusion: str = "full"

    def at(self, passed: float, timestep: int, timesteps: int) -> Injection:
        """The injection when ``passed`` (0..1) of the steps are done; r = min(1, 2t/T) where adaptive."""
        share = min(1.0, 2 * timestep / timesteps) if self.fusion == "adaptive" else 1.0
        return Injection(passed < self.feature_share, share if passed < self.attention_share else 0.0)
