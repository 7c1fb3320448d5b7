"""Fitting a style's LoRA (spec diffstyler, section 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import invert
from velatura.diffusion.latents import channel_moments
from velatura.diffusion.schedules import add_noise_each, ddim_levels
from velatura.errors import SettingError
from velatura.methods.base import advised
from velatura.methods.checks import check_counts
from velatura.methods.fits import counted, fit_card, fit_identity, fit_settings, style_weights
from velatura.models.adapters import attached, fresh_adapter, using
from velatura.models.backbone import PLACEHOLDER, Condition
from velatura.models.latent import LatentBackbone
from velatura.picture import Picture, image_to_pixels, plan_size
from velatura.progress import Progress
from velatura.style import Style
from velatura.style.checkpoint import FitState
from velatura.style.pictures import kept_image, picture_tensor

PUBLISHED_RATE = 2e-4
LOOK = "<sss>"  # stands for a style's look in prompts
MOMENTS, MOMENT_ABARS, MOMENT_STEPS = "start.moments", "start.abars", 20


@dataclass(frozen=True)
class FitSettings:
    """Settings of a LoRA's fit; the defaults are the paper's.

    ``fit_prompt`` says what the style picture is, "<sss>" standing for its look: subject words keep its content out
    of the style. Where the model has a word for any picture, "<sss>" is that word, and the LoRA need only learn what
    it leaves out; elsewhere it is plain text, as published. ``rank`` is the LoRA's, ``fit_rate`` AdamW's constant
    learning rate (0: what the model's folder advises, or the paper's 2e-4), ``fit_size`` the short side in pixels
    (0: the model's native size, at least 256).
    """

    fit_prompt: str = "painting of <sss>"
    rank: int = 16
    fit_steps: int = 200
    fit_batch: int = 1
    fit_rate: float = 0.0
    fit_size: int = 0
    fit_every: int = 25
    fit_seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "rank", "fit_steps", "fit_batch", "fit_every")
        if self.fit_rate < 0:
            raise SettingError(f"fit_rate must not be negative, but is {self.fit_rate:g}.")


def prediction_weight(backbone: LatentBackbone, timesteps: Tensor) -> Tensor:
    """What turns the squared error of the noise into that of what the network predicts: 1, or 1 / abar for v."""
    if backbone.scheduler.config.prediction_type != "v_prediction":
        return torch.ones(len(timesteps), device=backbone.device)
    return (1 / backbone.alphas_cumprod[timesteps.cpu()]).float().to(backbone.device)


def fit_lora(
    settings: FitSettings,
    method: str,
    picture: Picture,
    backbone: LatentBackbone,
    name: str,
    progress: Progress,
    mask: Picture | None,
    checkpoint: Path | None,
) -> Style:
    """The style of a picture: its LoRA, the moments of its latents on the way to noise, and a card with the prompt it
    was fitted under and the loss.
    """
    settings = replace(settings, fit_rate=advised(settings.fit_rate, "lora_rate", PUBLISHED_RATE, backbone.advised))
    short = settings.fit_size or max(256, backbone.native_size)
    working = plan_size(picture.size, short, backbone.multiple).working
    pixels = image_to_pixels(picture.image)
    pixels = F.interpolate(pixels, working[::-1], mode="bilinear", antialias=True).to(backbone.device)
    grid = (working[1] // backbone.factor, working[0] // backbone.factor)
    counts, seen = torch.ones(1, 1, *grid, device=backbone.device), pixels
    if mask is not None:
        counts = F.interpolate(style_weights(mask), grid, mode="area").to(backbone.device)
        seen = counted(pixels, style_weights(mask, working).to(backbone.device))
    own = fit_settings(settings, FitSettings)
    belongs = fit_identity(picture, mask, backbone, own)
    before = backbone.evaluations
    word = backbone.style_word(seen)
    condition = said(settings.fit_prompt, word, backbone)
    adapter, curve = _optimise(settings, pixels, counts, condition, backbone, progress, checkpoint, belongs)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    card = fit_card(picture, own, curve, "all steps", backbone.evaluations - before)
    card["prompt"] = settings.fit_prompt
    tensors = {**adapter, "picture.00": picture_tensor(kept_image(picture.image))}
    tensors |= {} if word is None else {"word": word.cpu()}
    tensors |= moments_on_the_way(pixels, counts[0, 0] > 0, backbone, progress)
    return Style(name, method, backbone.name, backbone.fingerprint, tensors, card)


@torch.no_grad()
def said(prompt: str, word: Tensor | None, backbone: LatentBackbone) -> Condition:
    """A prompt whose "<sss>" is the ``word`` (1, 1, W) that the model has for the style picture, if it has one."""
    if word is None or LOOK not in prompt:
        return backbone.text([prompt])
    return backbone.text([prompt.replace(LOOK, PLACEHOLDER)], word)


@torch.no_grad()
def moments_on_the_way(
    pixels: Tensor, inside: Tensor, backbone: LatentBackbone, progress: Progress
) -> dict[str, Tensor]:
    """Channel moments (levels, 2, 1, C, 1, 1) of a picture's latents along its inversion, over the cells ``inside``
    (h, w); and abar at each level.
    """
    levels = ddim_levels(backbone.alphas_cumprod, MOMENT_STEPS)
    predict = conditional(backbone, backbone.text([""]))
    way = invert(predict, backbone.encode(pixels), levels, 1, progress).latents
    moments = torch.stack([channel_moments(latents[:, :, None, inside]) for latents in way])
    return {MOMENTS: moments.cpu(), MOMENT_ABARS: torch.tensor(levels.abars)}


def start_moments(style: Style, abar: float) -> Tensor | None:
    """A style's moments (2, 1, C, 1, 1) at the level nearest to ``abar``; None for one fitted without them."""
    if MOMENTS not in style.tensors:
        return None
    nearest = int((style.tensors[MOMENT_ABARS].logit(1e-6) - torch.tensor(abar).logit(1e-6)).abs().argmin())
    return style.tensors[MOMENTS][nearest]


def _optimise(
    settings: FitSettings,
    pixels: Tensor,
    counts: Tensor,
    condition: Condition,
    backbone: LatentBackbone,
    progress: Progress,
    checkpoint: Path | None,
    belongs: str,
) -> tuple[dict[str, Tensor], list[tuple[int, float]]]:
    """The adapter after all steps, and its mean loss over every ``fit_every`` of them."""
    unet, count = backbone.unet, len(backbone.alphas_cumprod)
    generator = torch.Generator().manual_seed(settings.fit_seed)
    state = fresh_adapter(unet, settings.rank, generator)
    resumed = FitState.load(checkpoint, belongs)
    first, curve = 0, []
    if resumed is not None:
        state = {key: resumed.tensors[key] for key in state}
        first, curve = resumed.numbers["step"], [(int(s), float(v)) for s, v in resumed.numbers["curve"]]
        generator.manual_seed(settings.fit_seed + 7919 * first)
    with torch.no_grad():
        shape = backbone.encode(pixels).shape
    with attached(unet, {"style": state}), using(unet, "style"), torch.enable_grad():
        parameters = {key.replace(".style.", "."): value for key, value in unet.named_parameters() if ".style." in key}
        for value in parameters.values():
            value.requires_grad_()
        optimizer = torch.optim.AdamW(parameters.values(), lr=settings.fit_rate, weight_decay=1e-2)
        if resumed is not None:
            for key, value in parameters.items():
                optimizer.state[value] = {
                    "step": torch.tensor(float(first)),
                    "exp_avg": resumed.tensors[f"mean.{key}"].to(value),
                    "exp_avg_sq": resumed.tensors[f"square.{key}"].to(value),
                }
        losses: list[float] = []
        for step in progress.track(range(first, settings.fit_steps), "fit"):
            with torch.no_grad():
                draws = [torch.randn(shape, generator=generator) for _ in range(settings.fit_batch)]
                latents = torch.cat([backbone.encode(pixels, draw) for draw in draws])
            timesteps = torch.randint(count, (settings.fit_batch,), generator=generator).to(backbone.device)
            noise = torch.randn(latents.shape, generator=generator).to(backbone.device)
            abars = backbone.alphas_cumprod[timesteps.cpu()].tolist()
            noisy = add_noise_each(latents, noise, abars)
            error = (backbone.predict(noisy, timesteps, condition) - noise).square()
            error = error * prediction_weight(backbone, timesteps)[:, None, None, None]
            loss = (error * counts).sum() / (counts.sum() * len(latents) * latents.shape[1])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
            done = step + 1
            if done % settings.fit_every == 0 or done == settings.fit_steps:
                curve.append((done, sum(losses) / len(losses)))
                losses = []
                progress.note(loss=curve[-1][1])
                if checkpoint is not None:
                    kept: dict[str, Tensor] = dict(parameters)
                    kept |= {f"mean.{key}": optimizer.state[value]["exp_avg"] for key, value in parameters.items()}
                    kept |= {f"square.{key}": optimizer.state[value]["exp_avg_sq"] for key, value in parameters.items()}
                    FitState(belongs, kept, {"step": done, "curve": curve}).save(checkpoint)
        adapter = {key: value.detach().float().cpu().clone() for key, value in parameters.items()}
    return adapter, curve
