"""The shape of a loss, what losses look at, and their sum over one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from velatura.errors import SettingError
from velatura.losses.eyes import Eyes, Goal
from velatura.losses.window import Window
from velatura.memory import Memory
from velatura.models.perceptual import VGGTrunk

Encoder = Callable[[Tensor], tuple[Tensor, ...]]
T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """A picture as losses look at it: ``pixels`` (B, 3, H, W), about [-1, 1], named VGG16 ``features``, and the maps
    of the diffusion UNet's encoder (``encoded``), from fine to coarse.

    The features are those of what is in the ``window`` (None: of the whole picture).
    """

    pixels: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    encoded: tuple[Tensor, ...] = ()
    window: Window | None = None


@dataclass(frozen=True)
class StyleStatistics:
    """What losses need of a style picture: Gram matrices by layer, mean colour (3,), colour factor (3, 3)."""

    grams: Mapping[str, Tensor]
    colour_mean: Tensor
    colour_factor: Tensor


@dataclass(frozen=True)
class Targets:
    """What a result is compared with: the content, seen; the style's ``statistics`` and ``picture`` (1, 3, h, w), which
    a style in words has not.

    ``eyes`` is the image encoder of the CLIP losses and ``goal`` what they lead to; ``draws`` is where whatever is
    drawn at random in a run comes from. ``memory`` keeps what was made of the style, known by its ``identity``.
    """

    content: View
    statistics: StyleStatistics | None
    picture: Tensor | None
    trunk: VGGTrunk
    eyes: Eyes | None = None
    goal: Goal | None = None
    draws: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    memory: Memory = field(default_factory=Memory)
    identity: str = ""

    def once(self, name: str, made: Callable[[torch.Generator], T]) -> T:
        """What is ``made`` of the style, of draws that are always the same, for as long as ``memory`` keeps it."""
        shape = self.picture.shape if self.picture is not None else ()
        key = (name, self.identity, shape, self.trunk.source, str(self.content.pixels.device))
        return self.memory.recall(key, lambda: made(torch.Generator().manual_seed(0)))

    def seeing(self) -> tuple[Eyes, Goal]:
        """The image encoder and where it leads. Raises SettingError where there is none."""
        if self.eyes is None or self.goal is None:
            raise SettingError("The CLIP losses need an image encoder, and there is none here.")
        return self.eyes, self.goal

    def style_statistics(self, loss: str) -> StyleStatistics:
        """The style's statistics. Raises SettingError, naming the loss, where the style is in words."""
        if self.statistics is None:
            raise _in_words(loss)
        return self.statistics

    def style_picture(self, loss: str) -> Tensor:
        """The style's picture. Raises SettingError, naming the loss, where the style is in words."""
        if self.picture is None:
            raise _in_words(loss)
        return self.picture


def _in_words(loss: str) -> SettingError:
    return SettingError(
        f"The loss {loss} needs a style picture, and this style is in words: leave it out with --loss {loss}=0, or use "
        "--preset zecon."
    )


class Loss(Protocol):
    """A named, non-negative number about a picture, zero where nothing is left to want.

    ``layers`` are those of VGG16 that it looks at; ``encodes`` says whether it looks at the UNet's encoder.
    """

    name: str
    layers: tuple[str, ...]
    encodes: bool

    def __call__(self, view: View, content: View) -> Tensor:
        """The loss, a scalar, differentiable with respect to ``view``; ``content`` is the content seen the same way."""
        ...


@dataclass(frozen=True)
class Term:
    """A loss, its weight, and the part (from, to) of the denoising, in 0..1, in which it counts."""

    loss: Loss
    weight: float
    span: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses that share one pass through the feature network and one through the encoder."""

    terms: tuple[Term, ...]
    trunk: VGGTrunk
    encoder: Encoder | None = None

    def acting(self, passed: float) -> tuple[Term, ...]:
        """The terms that count when ``passed`` (0..1) of the steps are done."""
        return tuple(term for term in self.terms if term.span[0] <= passed <= term.span[1])

    def features(self, pixels: Tensor, terms: tuple[Term, ...]) -> dict[str, Tensor]:
        """The VGG16 features that the losses of ``terms`` look at, in float32."""
        layers = sorted({layer for term in terms for layer in term.loss.layers})
        found = self.trunk.features(pixels, layers) if layers else {}
        return {layer: value.float() for layer, value in found.items()}

    def view(self, pixels: Tensor, latents: Tensor, terms: tuple[Term, ...], window: Window | None = None) -> View:
        """What the losses of ``terms`` need to see, in float32."""
        looked_at = pixels if window is None else window.of(pixels)
        return View(pixels, self.features(looked_at, terms), self.encoded(latents, terms), window)

    def encoded(self, latents: Tensor, terms: tuple[Term, ...]) -> tuple[Tensor, ...]:
        """The maps of the UNet's encoder, in float32, where a loss of ``terms`` looks at them."""
        if self.encoder is None or not any(term.loss.encodes for term in terms):
            return ()
        return tuple(level.float() for level in self.encoder(latents))

    def __call__(
        self, pixels: Tensor, latents: Tensor, content: View, passed: float = 0.0
    ) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum for (B, 3, H, W) and the latents they were decoded from; each loss's own value by name.

        They are looked at through the window that the content was looked at through.
        """
        terms = self.acting(passed)
        view = self.view(pixels, latents, terms, content.window)
        values = {term.loss.name: term.loss(view, content) for term in terms}
        total = sum((term.weight * values[term.loss.name] for term in terms), start=pixels.new_zeros(()))
        return torch.as_tensor(total), {name: value.item() for name, value in values.items()}
