"""Fitting the word map v of a style picture: InST's inversion (Zhang et al. 2023, section 3.2) in its affine form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from velatura.methods.cost import Cost
from velatura.methods.fitting import (
    fit_card,
    fit_identity,
    fit_settings,
    masked_pixels,
    style_weights,
)
from velatura.methods.resumable_fit import FitCheckpoint, resumable_fit
from velatura.methods.s2prest.conditioned import Context, WordConditioned
from velatura.methods.s2prest.views import Views, make_views
from velatura.methods.s2prest.word_map import WordMap
from velatura.methods.validation import Range, Seed, Share, Side, check_settings
from velatura.models.backbone import PLACEHOLDER, PictureWords
from velatura.models.noise_schedule import add_noise_each
from velatura.picture import Picture, image_to_pixels
from velatura.style.masked import only_inside
from velatura.style.pictures import kept_image, picture_tensor

CHECKED = 16  # noised views that the loss is checked on
MOMENTUM = 0.9
WARM_TOKEN = "painting"  # the word that a model without picture words starts from


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit.

    ``vectors`` is the number of tokens of a style.
    ``fit_steps`` is the most optimiser steps that a fit takes.
    ``fit_batch`` is how many views each step of the fit has (0: it follows from what the fit starts from).
    ``fit_views`` is how many crops of the style picture the views are drawn from.
    ``fit_size`` is the short side in pixels of those crops (0: half the model's native size, or all of it where the
    model has no word of its own to start from).
    ``fit_rate`` is the first step's length relative to the starting word's rms (0: it follows from what the fit starts
    from).
    ``fit_check`` is after how many steps the loss on fixed noised views is taken each time.
    ``fit_plateau`` is the share of itself by which that loss must have fallen over ``fit_patience`` checks, or the fit
    stops.
    ``fit_patience`` is over how many checks that is asked.
    ``fit_spread`` (0..1) is the share of the model's own map from image embeddings to words that the word map starts
    with: at 0 the word is the same for every picture, at 1 it is the model's word for each.
    ``fit_seed`` is that of views and noise.
    Raises SettingError for values out of range.
    """

    vectors: Annotated[int, Range(1, 32)] = 1
    fit_steps: Annotated[int, Range(1, 100_000)] = 200
    fit_batch: Annotated[int, Range(0, 256)] = 0
    fit_views: Annotated[int, Range(1, 4096)] = 32
    fit_size: Side = 0
    fit_rate: Annotated[float, Range(0, 1000)] = 0.0
    fit_check: Annotated[int, Range(1, 100_000)] = 10
    fit_plateau: Share = 0.002
    fit_patience: Annotated[int, Range(1, 100_000)] = 4
    fit_spread: Share = 0.15
    fit_seed: Seed = 0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Pace:
    """The first step's length relative to the word's rms, the views of each step, and their side in pixels."""

    rate: float
    batch: int
    side: int


def pace(settings: FitSettings, start: WordMap, native_size: int) -> Pace:
    """The pace that is set, or that suits the start: short steps of many small views from the model's own word, long
    steps of one whole view from any other.
    """
    rate, batch, share = (0.05, 8, 0.5) if start.weight.any() else (1.0, 1, 1.0)
    side = settings.fit_size or max(128, int(share * native_size))
    return Pace(settings.fit_rate or rate, settings.fit_batch or batch, side)


def warm_start(settings: FitSettings, embedding: Tensor, backbone: WordConditioned) -> WordMap:
    """The map a fit starts from: v(S) is the model's own word for the picture, or the word "painting"'s embedding.

    ``embedding`` (1, E) is e(S). Where the model has a linear map M from embeddings to words, W = spread M.
    """
    if not isinstance(backbone, PictureWords):
        bias = backbone.token_embedding(WARM_TOKEN)[None].expand(settings.vectors, -1)
        weight = bias.new_zeros(settings.vectors, bias.shape[1], embedding.shape[1])
        return WordMap(weight, bias.clone())
    # A linear map is known by its values at e(S), at zero and at every basis vector.
    basis = torch.eye(embedding.shape[1], device=embedding.device)
    words = backbone.word_of_embedding(torch.cat([embedding, torch.zeros_like(embedding), basis]))
    of_style, of_zero, of_basis = words[0], words[1], words[2:]
    weight = settings.fit_spread * (of_basis - of_zero).permute(1, 2, 0)
    bias = of_style - torch.einsum("nwe,e->nw", weight, embedding[0])
    repeats = settings.vectors
    return WordMap(weight[:1].repeat(repeats, 1, 1).contiguous(), bias[:1].repeat(repeats, 1).contiguous())


def spread_timesteps(count: int, timesteps: int, generator: torch.Generator) -> Tensor:
    """``count`` timesteps, one uniform in each of as many equal bands, shuffled."""
    bands = torch.arange(count) + torch.rand(count, generator=generator)
    return (bands * timesteps / count).long().clamp(max=timesteps - 1)[torch.randperm(count, generator=generator)]


@dataclass(frozen=True)
class NoisedViews:
    """Views, each with a timestep (B,) and a noise (B, C, h, w)."""

    views: Views
    timesteps: Tensor
    noise: Tensor

    @staticmethod
    def draw(views: Views, count: int, timesteps: int, generator: torch.Generator) -> NoisedViews:
        """``count`` of the views with repetition, at timesteps spread over all ``timesteps``."""
        chosen = views.at(torch.randint(len(views), (count,), generator=generator))
        device = views.latents.device
        times = spread_timesteps(count, timesteps, generator).to(device)
        return NoisedViews(chosen, times, torch.randn(chosen.latents.shape, generator=generator).to(device))


def noise_loss(word_map: Callable[[Tensor], Tensor], examples: NoisedViews, backbone: WordConditioned) -> Tensor:
    """Mean squared error of the noise predicted in noised views under their own words (Zhang et al. 2023, eq. 4)."""
    views, abars = examples.views, backbone.schedule.alphas_cumprod[examples.timesteps.cpu()]
    noisy = add_noise_each(views.latents, examples.noise, abars.tolist())
    conditioning = backbone.encode_prompt([PLACEHOLDER] * len(views), word_map(views.embeddings))
    noise = backbone.predict(noisy, examples.timesteps, conditioning).noise
    error = (noise - examples.noise).square().mean(1, keepdim=True)
    return (error * views.weights).sum() / views.weights.sum()


class WordFit:
    """The fit of a word map to views by normalised gradient descent; ``best`` is the best map on fixed noised views."""

    def __init__(self, settings: FitSettings, start: WordMap, views: Views, backbone: WordConditioned) -> None:
        self.settings, self.views, self.backbone = settings, views, backbone
        self.timesteps = len(backbone.schedule)
        fixed = torch.Generator().manual_seed(settings.fit_seed + 1)
        self.check = NoisedViews.draw(views, CHECKED, self.timesteps, fixed)
        self.generator = torch.Generator().manual_seed(settings.fit_seed + 2)
        self.weight, self.bias = (part.clone().requires_grad_() for part in (start.weight, start.bias))
        self.best, self.lowest = start, float("inf")
        chosen = pace(settings, start, backbone.native_size)
        self.batch = chosen.batch
        self.rate = chosen.rate * start.bias.square().mean().sqrt().item()
        self.squared_norm = views.embeddings.square().sum(1).mean().item()
        self.optimizer = torch.optim.SGD([self.bias, self.weight], lr=self.rate, momentum=MOMENTUM)

    def initial_loss(self) -> float:
        """The loss of the warm start."""
        return self.loss()

    @torch.enable_grad()
    def step(self, step: int) -> None:
        """One step of the noise loss's gradient, scaled to unit length.

        Both parameters are scaled alike by the word's gradient g: b moves by g, and W, whose gradient is g e^T, by
        g e^T / |e|^2, so that either moves a word as far. One scale for all entries: those that hardly matter hardly
        move.
        """
        examples = NoisedViews.draw(self.views, self.batch, self.timesteps, self.generator)
        # Constant over the first half, then falling to 0: a short fit must get as far as a long one.
        self.optimizer.param_groups[0]["lr"] = self.rate * min(1.0, 2 * (1 - step / self.settings.fit_steps))
        loss = noise_loss(WordMap(self.weight, self.bias), examples, self.backbone)
        weight_gradient, bias_gradient = torch.autograd.grad(loss, (self.weight, self.bias))
        length = bias_gradient.square().mean().sqrt().clamp(min=1e-20)
        self.bias.grad, self.weight.grad = bias_gradient / length, weight_gradient / (length * self.squared_norm)
        self.optimizer.step()

    @torch.no_grad()
    def loss(self) -> float:
        """The loss on the fixed noised views; the map is kept if it is the best so far."""
        current = WordMap(self.weight.detach().clone(), self.bias.detach().clone())
        loss = noise_loss(current, self.check, self.backbone).item()
        if loss < self.lowest:
            self.best, self.lowest = current, loss
        return loss

    def stops(self, losses: Sequence[float]) -> bool:
        """Whether the losses have reached a plateau."""
        return plateaued(losses, self.settings.fit_plateau, self.settings.fit_patience)

    def state(self) -> dict[str, Tensor]:
        """Parameters, momenta, and the best map with its loss."""
        momenta = {name: self.optimizer.state[value]["momentum_buffer"] for name, value in self._parameters().items()}
        return {
            **self._parameters(),
            **{f"{name}.momentum": value for name, value in momenta.items()},
            **self.best.tensors(),
            "lowest": torch.tensor(self.lowest, dtype=torch.float64),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up ``state``."""
        for name, parameter in self._parameters().items():
            parameter.copy_(state[name])
            self.optimizer.state[parameter]["momentum_buffer"] = state[f"{name}.momentum"].to(parameter)
        self.best, self.lowest = WordMap.of(state).to(self.weight.device), state["lowest"].item()

    def _parameters(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "bias": self.bias}


def plateaued(losses: Sequence[float], share: float, patience: int) -> bool:
    """Whether the best loss of the last ``patience`` checks is not ``share`` below the best before them."""
    if len(losses) <= patience + 1:
        return False
    return min(losses[-patience:]) > (1 - share) * min(losses[:-patience])


def fit_word(
    settings: FitSettings,
    picture: Picture,
    context: Context,
    mask: Picture | None,
    checkpoint: Path | None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Fit the word map of a style picture: a style's tensors (word map, e(S), picture) and its card."""
    backbone = context.backbone
    image = kept_image(picture.image)
    pixels = image_to_pixels(image).to(backbone.device)
    weights = torch.ones_like(pixels[:, :1])
    if mask is not None:
        weights = style_weights(mask, image.size).to(backbone.device)
        pixels = masked_pixels(pixels, weights)
    with torch.no_grad():
        embedding = backbone.encode_image(pixels)
    start = warm_start(settings, embedding, backbone)
    side = pace(settings, start, backbone.native_size).side
    side = max(1, round(side / backbone.multiple)) * backbone.multiple
    generator = torch.Generator().manual_seed(settings.fit_seed)
    views = make_views(pixels, weights, settings.fit_views, side, backbone, generator)
    own = fit_settings(settings, FitSettings)
    cost = Cost(backbone)
    kept = FitCheckpoint(checkpoint, fit_identity(picture, mask, backbone, own), cost)
    fit = WordFit(settings, start, views, backbone)
    curve = resumable_fit(fit, settings.fit_steps, settings.fit_check, kept, context.progress)
    stopped = "plateau" if curve[-1][0] < settings.fit_steps else "all steps"
    card = fit_card(picture, own, curve, stopped, cost)
    shown = kept_image(only_inside(picture, mask))
    tensors = {**fit.best.tensors(), "embedding": embedding, "picture.00": picture_tensor(shown)}
    return tensors, card
