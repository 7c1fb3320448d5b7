"""Fitting the word of a style picture (spec s2prest, section 1): InST's inversion in its affine form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.schedules import add_noise_each
from velatura.errors import SettingError, StyleError
from velatura.methods.checks import check_counts
from velatura.methods.fits import counted, fit_card, fit_identity, fit_settings, style_weights
from velatura.models.backbone import PLACEHOLDER, Backbone
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.progress import Progress
from velatura.style import Style
from velatura.style.checkpoint import FitState
from velatura.style.pictures import kept_image, picture_tensor
from velatura.style.word_map import WordMap

CHECKED = 16  # noised views that the loss is checked on
LEAST_SEEN = 0.3  # of a view must be inside the mask
MOMENTUM = 0.9
# Rate, views a step, and their side as a share of the native size: careful where the model's own word is the start;
# far, often and on what the model knows best where any word is.
FROM_OWN_WORD, FROM_ANY_WORD = (0.05, 8, 0.5), (1.0, 1, 1.0)
WARM_TOKEN = "painting"  # the word that a model without picture words starts from


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit.

    ``vectors`` is the number of tokens of a style, ``fit_steps`` the most optimiser steps, of ``fit_batch`` views
    each, drawn from ``fit_views`` crops of short side ``fit_size`` pixels (0: half the model's native size, or all of
    it where the model has no word of its own to start from).
    ``fit_rate`` is the first step's length relative to the starting word's rms; it and ``fit_batch`` follow from
    what the fit starts from where they are 0. Every ``fit_check`` steps the loss on fixed noised views is taken; the
    fit stops when it fell by less than ``fit_plateau`` (a share of it) over ``fit_patience`` checks. ``fit_spread``
    (0..1) is how much of the model's own map from pictures to words the word map starts with: 0 says the style's
    word whatever it sees, 1 in the end what is seen.
    """

    vectors: int = 1
    fit_steps: int = 200
    fit_batch: int = 0
    fit_views: int = 32
    fit_size: int = 0
    fit_rate: float = 0.0
    fit_check: int = 10
    fit_plateau: float = 0.002
    fit_patience: int = 4
    fit_spread: float = 0.15
    fit_seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "vectors", "fit_steps", "fit_views", "fit_check", "fit_patience")
        if not 0 <= self.fit_spread <= 1 or min(self.fit_rate, self.fit_plateau, self.fit_batch) < 0:
            raise SettingError("fit_spread must be from 0 to 1, fit_rate, fit_batch and fit_plateau not negative.")


@dataclass(frozen=True)
class Views:
    """Crops of the style picture as the fit uses them: latents, image embeddings, and where they count."""

    latents: Tensor
    embeddings: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def at(self, indices: Tensor) -> Views:
        return Views(self.latents[indices], self.embeddings[indices], self.weights[indices])


@torch.no_grad()
def make_views(
    pixels: Tensor, mask: Tensor, count: int, side: int, backbone: Backbone, generator: torch.Generator
) -> Views:
    """``count`` square crops of (1, 3, H, W), half to whole of the short side, flipped at random, encoded once.

    Raises StyleError when the mask (1, 1, H, W; 1 where the style counts) leaves too little to see.
    """
    height, width = pixels.shape[2:]
    latents: list[Tensor] = []
    embeddings: list[Tensor] = []
    weights: list[Tensor] = []
    for _ in range(20 * count):
        if len(latents) == count:
            break
        scale = 0.5 + 0.5 * torch.rand((), generator=generator).item()
        crop = max(1, int(scale * min(height, width)))
        top = int(torch.randint(height - crop + 1, (), generator=generator))
        left = int(torch.randint(width - crop + 1, (), generator=generator))
        flipped = bool(torch.rand((), generator=generator) < 0.5)
        area = (..., slice(top, top + crop), slice(left, left + crop))
        if mask[area].mean() < LEAST_SEEN:
            continue
        view, seen = (part[area].flip(-1) if flipped else part[area] for part in (pixels, mask))
        view = F.interpolate(view, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
        latents.append(backbone.encode(view))
        embeddings.append(backbone.see(view))
        weights.append(F.interpolate(seen, latents[-1].shape[2:], mode="area").to(backbone.device))
    if len(latents) < count:
        raise StyleError("The style mask leaves too little of the style picture: keep more of it white.")
    return Views(torch.cat(latents), torch.cat(embeddings), torch.cat(weights))


def spread_timesteps(count: int, timesteps: int, generator: torch.Generator) -> Tensor:
    """``count`` timesteps, one uniform in each of as many equal bands, shuffled."""
    bands = torch.arange(count) + torch.rand(count, generator=generator)
    return (bands * timesteps / count).long().clamp(max=timesteps - 1)[torch.randperm(count, generator=generator)]


def noise_loss(
    word_map: Callable[[Tensor], Tensor], views: Views, timesteps: Tensor, noise: Tensor, backbone: Backbone
) -> Tensor:
    """Mean squared error of the noise predicted in noised views under their own words (InST, eq. 4)."""
    noisy = add_noise_each(views.latents, noise, backbone.alphas_cumprod[timesteps.cpu()].tolist())
    condition = backbone.text([PLACEHOLDER] * len(views), word_map(views.embeddings))
    error = (backbone.predict(noisy, timesteps, condition) - noise).square().mean(1, keepdim=True)
    return (error * views.weights).sum() / views.weights.sum()


def warm_start(settings: FitSettings, seen: Tensor, backbone: Backbone) -> WordMap:
    """The map a fit starts from: v(S) is the model's own word for the picture, or the word "painting"'s embedding.

    ``seen`` (1, E) is e(S). Where the model has a linear map M from embeddings to words, W = spread M.
    """
    # Of e(S), of nothing, and of each number alone: a linear map is known by these.
    probes = torch.cat([seen, torch.zeros_like(seen), torch.eye(seen.shape[1], device=seen.device)])
    words = backbone.word_of(probes)
    if words is None:
        bias = backbone.token_embedding(WARM_TOKEN)[None].expand(settings.vectors, -1)
        weight = bias.new_zeros(settings.vectors, bias.shape[1], seen.shape[1])
        return WordMap(weight, bias.clone())
    own, of_nothing, of_basis = words[0], words[1], words[2:]
    weight = settings.fit_spread * (of_basis - of_nothing).permute(1, 2, 0)
    bias = own - torch.einsum("nwe,e->nw", weight, seen[0])
    repeats = settings.vectors
    return WordMap(weight[:1].repeat(repeats, 1, 1).contiguous(), bias[:1].repeat(repeats, 1).contiguous())


def optimise(
    settings: FitSettings,
    start: WordMap,
    views: Views,
    backbone: Backbone,
    progress: Progress,
    checkpoint: Path | None,
    belongs: str,
) -> tuple[WordMap, list[tuple[int, float]]]:
    """Fit ``start`` to ``views``; the best map on the fixed check, and the check's loss by step."""
    count = len(backbone.alphas_cumprod)
    fixed = torch.Generator().manual_seed(settings.fit_seed + 1)
    checked = views.at(torch.randint(len(views), (CHECKED,), generator=fixed))
    check_times = spread_timesteps(CHECKED, count, fixed).to(backbone.device)
    check_noise = torch.randn(checked.latents.shape, generator=fixed).to(backbone.device)

    weight, bias = start.weight.clone().requires_grad_(), start.bias.clone().requires_grad_()
    relative, batch, _ = pace(settings, start, backbone.native_size)
    rate = relative * start.bias.square().mean().sqrt().item()
    # Both are scaled alike by the word's gradient g: b moves by g, and W, whose gradient is g e^T, by g e^T / |e|^2,
    # so that either moves a word as far. One scale for all entries: where the word hardly matters it hardly moves.
    reach = views.embeddings.square().sum(1).mean().item()
    optimizer = torch.optim.SGD([bias, weight], lr=rate, momentum=MOMENTUM)
    first, curve, best = 0, [], start
    resumed = FitState.load(checkpoint, belongs)
    if resumed is not None:
        weight.data, bias.data = (resumed.tensors[name].to(backbone.device) for name in ("weight", "bias"))
        best = WordMap.of(resumed.tensors).to(backbone.device)
        first, curve = resumed.numbers["step"], [(int(s), float(v)) for s, v in resumed.numbers["curve"]]
        for parameter, name in ((weight, "weight"), (bias, "bias")):
            optimizer.state[parameter]["momentum_buffer"] = resumed.tensors[f"{name}.momentum"].to(backbone.device)

    def check(step: int) -> None:
        nonlocal best
        with torch.no_grad():
            current = WordMap(weight.detach().clone(), bias.detach().clone())
            loss = noise_loss(current, checked, check_times, check_noise, backbone).item()
        if all(loss < other for _, other in curve):
            best = current
        curve.append((step, loss))
        progress.note(loss=loss)
        if checkpoint is not None and step:
            tensors = {"weight": weight, "bias": bias, **best.tensors()}
            for parameter, name in ((weight, "weight"), (bias, "bias")):
                tensors[f"{name}.momentum"] = optimizer.state[parameter]["momentum_buffer"]
            FitState(belongs, tensors, {"step": step, "curve": curve}).save(checkpoint)

    if not curve:
        check(0)
    drawing = torch.Generator().manual_seed(settings.fit_seed + 2 + first)
    for step in progress.track(range(first, settings.fit_steps), "fit"):
        chosen = views.at(torch.randint(len(views), (batch,), generator=drawing))
        timesteps = spread_timesteps(batch, count, drawing).to(backbone.device)
        noise = torch.randn(chosen.latents.shape, generator=drawing).to(backbone.device)
        # Whole at first, then falling: a short fit must get as far as a long one.
        optimizer.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - step / settings.fit_steps))
        loss = noise_loss(WordMap(weight, bias), chosen, timesteps, noise, backbone)
        slope_of_weight, slope = torch.autograd.grad(loss, (weight, bias))
        size = slope.square().mean().sqrt().clamp(min=1e-20)
        bias.grad, weight.grad = slope / size, slope_of_weight / (size * reach)
        optimizer.step()
        if (step + 1) % settings.fit_check == 0 or step + 1 == settings.fit_steps:
            check(step + 1)
            if plateaued([value for _, value in curve], settings.fit_plateau, settings.fit_patience):
                break
    return best, curve


def pace(settings: FitSettings, start: WordMap, native_size: int) -> tuple[float, int, int]:
    """The first step's relative length, the views of each step and their side in pixels, by what the fit starts from
    where not set.
    """
    rate, batch, share = FROM_OWN_WORD if start.weight.any() else FROM_ANY_WORD
    side = settings.fit_size or max(128, int(share * native_size))
    return settings.fit_rate or rate, settings.fit_batch or batch, side


def plateaued(losses: Sequence[float], share: float, patience: int) -> bool:
    """Whether the best loss of the last ``patience`` checks is not ``share`` below the best before them."""
    if len(losses) <= patience + 1:
        return False
    return min(losses[-patience:]) > (1 - share) * min(losses[:-patience])


def fit_word(
    settings: FitSettings,
    method: str,
    picture: Picture,
    backbone: Backbone,
    name: str,
    progress: Progress,
    mask: Picture | None,
    checkpoint: Path | None,
) -> Style:
    """The style of a picture: its word map, its embedding, its picture, and a card that says how the fit went."""
    image = kept_image(picture.image)
    pixels = image_to_pixels(image).to(backbone.device)
    counts = torch.ones_like(pixels[:, :1])
    if mask is not None:
        counts = style_weights(mask, image.size).to(backbone.device)
        pixels = counted(pixels, counts)
    generator = torch.Generator().manual_seed(settings.fit_seed)
    with torch.no_grad():
        seen = backbone.see(pixels)
    start = warm_start(settings, seen, backbone)
    side = pace(settings, start, backbone.native_size)[2]
    side = max(1, round(side / backbone.multiple)) * backbone.multiple
    views = make_views(pixels, counts, settings.fit_views, side, backbone, generator)
    own = fit_settings(settings, FitSettings)
    belongs = fit_identity(picture, mask, backbone, own)
    before = backbone.evaluations
    word_map, curve = optimise(settings, start, views, backbone, progress, checkpoint, belongs)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    stopped = "plateau" if curve[-1][0] < settings.fit_steps else "all steps"
    card = fit_card(picture, own, curve, stopped, backbone.evaluations - before)
    tensors = {**word_map.tensors(), "embedding": seen, "picture.00": picture_tensor(pixels_to_image(pixels))}
    return Style(name, method, backbone.name, backbone.fingerprint, tensors, card)
