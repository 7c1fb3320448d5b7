"""The interface of a loss, the inputs and targets that losses share, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from velatura.cache import Cache
from velatura.errors import SettingError
from velatura.losses.clip_targets import ClipTargets, ImageEncoder
from velatura.losses.crop import Crop
from velatura.losses.detail import with_gradient_weights
from velatura.models.features.vgg import VGGTrunk
from velatura.span import WHOLE_RUN, Span

Encoder = Callable[[Tensor], tuple[Tensor, ...]]
T = TypeVar("T")


@dataclass(frozen=True)
class LossInput:
    """What losses compare, of the result or of the content.

    ``pixels`` are (B, 3, H, W), about [-1, 1] (not clamped). ``features`` are VGG16 activations (B, C, h, w) by layer
    name, of the pixels in ``crop`` (None: of all of them). ``encoder_maps`` are maps (B, C, h, w) of the diffusion
    UNet's encoder, from fine to coarse. Features and maps that no loss needs are left out. ``weighted`` are the same
    pixels for losses that are to leave flat places alone: their gradient is small there.
    """

    pixels: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    encoder_maps: tuple[Tensor, ...] = ()
    crop: Crop | None = None
    weighted: Tensor | None = None


@dataclass(frozen=True)
class StyleStatistics:
    """Statistics of a style picture: Gram matrices (1, C, C) by VGG16 layer, and the mean (3,) and lower Cholesky
    factor (3, 3) of the covariance of its RGB colours.
    """

    grams: Mapping[str, Tensor]
    colour_mean: Tensor
    colour_factor: Tensor


@dataclass(frozen=True)
class Targets:
    """What losses are made from: the content, and what is known of the style.

    ``statistics`` is None and ``pictures`` is empty for a style in words; else these are its pictures (1, 3, h, w) with
    shares that sum to 1, several for a mix of styles. ``image_encoder`` and ``clip_targets`` are None where no loss
    needs them. ``trunk`` is the VGG16 that features come from. ``generator`` is the one source of random
    draws during a run; ``cache`` keeps what is computed from the style, under the style's ``identity``.
    ``original`` are the content's pixels (1, 3, H, W) where ``content`` has them recoloured (None: it has not).
    """

    content: LossInput
    statistics: StyleStatistics | None
    pictures: Sequence[tuple[Tensor, float]]
    trunk: VGGTrunk
    image_encoder: ImageEncoder | None = None
    clip_targets: ClipTargets | None = None
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    cache: Cache = field(default_factory=Cache)
    identity: str = ""
    original: Tensor | None = None

    def cached(self, name: str, compute: Callable[[torch.Generator], T]) -> T:
        """The cached result of ``compute`` for this style, computed with a generator of its own, seeded with 0."""
        shapes = tuple(tuple(picture.shape) for picture, _ in self.pictures)
        key = (name, self.identity, shapes, self.trunk.source, str(self.content.pixels.device))
        return self.cache.get_or_compute(key, lambda: compute(torch.Generator().manual_seed(0)))

    def clip(self) -> tuple[ImageEncoder, ClipTargets]:
        """The image encoder and the CLIP losses' targets. Raises SettingError where there are none."""
        if self.image_encoder is None or self.clip_targets is None:
            raise SettingError("The CLIP losses need an image encoder, and there is none here.")
        return self.image_encoder, self.clip_targets

    def style_statistics(self, loss: str) -> StyleStatistics:
        """The style's statistics. Raises SettingError, naming the loss, for a style in words."""
        if self.statistics is None:
            raise _no_picture(loss)
        return self.statistics

    def style_pictures(self, loss: str) -> Sequence[tuple[Tensor, float]]:
        """The style's pictures (1, 3, h, w) and shares. Raises SettingError, naming the loss, for a style in words."""
        if not self.pictures:
            raise _no_picture(loss)
        return self.pictures


def _no_picture(loss: str) -> SettingError:
    return SettingError(
        f"The loss {loss} needs a style picture, and this style is in words: leave it out with --loss {loss}=0, or use "
        "--preset zecon."
    )


class Loss(Protocol):
    """A named, non-negative, differentiable measure of a result, 0 at its optimum.

    ``layers`` are the VGG16 layers whose features it compares; ``needs_encoder_maps`` says whether it compares maps of
    the UNet's encoder. A loss is made from ``Targets`` once for a run.
    """

    name: str
    layers: tuple[str, ...]
    needs_encoder_maps: bool

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        """The loss, a scalar, differentiable with respect to ``result``; ``content`` has the same crop."""
        ...


@dataclass(frozen=True)
class Term:
    """A loss, its weight, and the span of the run in which it counts."""

    loss: Loss
    weight: float
    span: Span = WHOLE_RUN


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses that share one pass through the VGG and one through the UNet's encoder.

    ``detail`` (1, 1, H, W) are weights of the gradient that comes through features and colours (None: 1 everywhere).
    """

    terms: tuple[Term, ...]
    trunk: VGGTrunk
    encoder: Encoder | None = None
    detail: Tensor | None = None

    def acting(self, progress: float) -> tuple[Term, ...]:
        """The terms whose span contains ``progress`` (0 to below 1)."""
        return tuple(term for term in self.terms if term.span.contains(progress))

    def features(self, pixels: Tensor, terms: tuple[Term, ...]) -> dict[str, Tensor]:
        """The VGG16 features of (B, 3, H, W) that the losses of ``terms`` compare, by layer, in float32."""
        layers = sorted({layer for term in terms for layer in term.loss.layers})
        found = self.trunk.features(pixels, layers) if layers else {}
        return {layer: value.float() for layer, value in found.items()}

    def encoder_maps(self, latents: Tensor, terms: tuple[Term, ...]) -> tuple[Tensor, ...]:
        """The maps of the UNet's encoder for ``latents``, in float32; none where no loss of ``terms`` needs them."""
        if self.encoder is None or not any(term.loss.needs_encoder_maps for term in terms):
            return ()
        return tuple(level.float() for level in self.encoder(latents))

    def loss_input(
        self, pixels: Tensor, latents: Tensor, terms: tuple[Term, ...], crop: Crop | None = None
    ) -> LossInput:
        """The input of the losses of ``terms``, from pixels (B, 3, H, W) and the latents they were decoded from."""
        weighted = pixels if self.detail is None else with_gradient_weights(pixels, self.detail)
        cropped = weighted if crop is None else crop.of(weighted)
        return LossInput(pixels, self.features(cropped, terms), self.encoder_maps(latents, terms), crop, weighted)

    def __call__(
        self, pixels: Tensor, latents: Tensor, content: LossInput, progress: float = 0.0
    ) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum for pixels (B, 3, H, W) and the latents they were decoded from; each loss's value by name.

        Features are taken in the crop of ``content``. Only terms whose span contains ``progress`` count.
        """
        terms = self.acting(progress)
        result = self.loss_input(pixels, latents, terms, content.crop)
        values = {term.loss.name: term.loss(result, content) for term in terms}
        total = sum((term.weight * values[term.loss.name] for term in terms), start=pixels.new_zeros(()))
        return torch.as_tensor(total), {name: value.item() for name, value in values.items()}
