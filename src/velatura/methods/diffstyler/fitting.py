"""Fitting a style's LoRA (spec diffstyler, section 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import invert
from velatura.diffusion.latents import channel_moments
from velatura.methods.context import RunContext
from velatura.methods.cost import Cost
from velatura.methods.diffstyler.style import MOMENT_ABARS, MOMENTS, LoraBackbone, encode_style_prompt
from velatura.methods.fitting import (
    fit_card,
    fit_identity,
    fit_settings,
    masked_pixels,
    style_weights,
)
from velatura.methods.recommendations import recommended
from velatura.methods.resumable_fit import Curve, FitCheckpoint, resumable_fit
from velatura.methods.validation import Range, Seed, Side, check_settings
from velatura.models.backbone import Conditioning, PictureWords, denoising_network
from velatura.models.lora import attached, fresh_adapter, using
from velatura.models.noise_schedule import NoiseSchedule, add_noise_each
from velatura.picture import Picture, image_to_pixels, plan_size
from velatura.style import Style
from velatura.style.masked import only_inside
from velatura.style.pictures import kept_image, picture_tensor

PUBLISHED_RATE = 2e-4
MOMENT_STEPS = 20
SMALLEST_FIT_SIZE = 256
STYLE_METHOD = "diffstyler"


@dataclass(frozen=True)
class FitSettings:
    """Settings of a LoRA's fit; the defaults are the paper's.

    ``fit_prompt`` says what the style picture is, "<sss>" standing for its style: subject words keep its content out
    of the style. Where the model has a word for any picture, "<sss>" is that word, and the LoRA need only learn what
    it leaves out; elsewhere it is plain text, as published. ``rank`` is the LoRA's.
    ``fit_rate`` is AdamW's constant learning rate (0: what the model's folder recommends, or the paper's 2e-4).
    ``fit_size`` is the short side in pixels (0: the model's native size, at least 256).
    ``fit_steps`` is how many steps are taken.
    ``fit_batch`` is how many noised copies a step has.
    ``fit_seed`` is that of their noise.
    ``fit_every`` is over how many steps the loss is kept as a mean.
    Raises SettingError for values out of range.
    """

    fit_prompt: str = "painting of <sss>"
    rank: Annotated[int, Range(1, 1024)] = 16
    fit_steps: Annotated[int, Range(1, 100_000)] = 200
    fit_batch: Annotated[int, Range(1, 256)] = 1
    fit_rate: Annotated[float, Range(0, 1)] = 0.0
    fit_size: Side = 0
    fit_every: Annotated[int, Range(1, 100_000)] = 25
    fit_seed: Seed = 0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class FitTarget:
    """The style picture's ``pixels`` (1, 3, H, W), the ``weights`` (1, 1, h, w) of its latent cells in the loss, and
    the ``conditioning`` of its prompt.
    """

    pixels: Tensor
    weights: Tensor
    conditioning: Conditioning


def fit_lora(
    settings: FitSettings,
    pictures: Sequence[Picture],
    name: str,
    context: RunContext[LoraBackbone],
    mask: Picture | None,
    checkpoint: Path | None,
) -> Style:
    """The style of one or more pictures: their LoRA, the moments of their latents along their inversion, the model's
    word for them where it has one (both as means), the pictures, and a card with the prompt it was fitted under and the
    loss. The ``mask`` is that of every picture.
    """
    backbone = context.backbone
    rate = recommended(settings.fit_rate, "lora_rate", PUBLISHED_RATE, backbone.recommended_settings)
    settings = replace(settings, fit_rate=rate)
    cost = Cost(backbone)
    masked = [_masked_picture(settings, picture, mask, backbone) for picture in pictures]
    word = None
    if isinstance(backbone, PictureWords):
        word = torch.stack([backbone.style_word(seen) for _, _, seen in masked]).mean(0)
    conditioning = encode_style_prompt(settings.fit_prompt, word, backbone)
    targets = [FitTarget(pixels, weights, conditioning) for pixels, weights, _ in masked]
    own = fit_settings(settings, FitSettings)
    identity = "".join(fit_identity(picture, mask, backbone, own) for picture in pictures)
    adapter, curve = _fitted_adapter(settings, targets, FitCheckpoint(checkpoint, identity, cost), context)
    card = fit_card(pictures[0], own, curve, "all steps", cost)
    card["prompt"] = settings.fit_prompt
    images = [kept_image(only_inside(picture, mask)) for picture in pictures]
    tensors = {**adapter, **{f"picture.{number:02d}": picture_tensor(image) for number, image in enumerate(images)}}
    tensors |= {} if word is None else {"word": word.cpu()}
    tensors |= _mean_moments(targets, context)
    return Style(name, STYLE_METHOD, backbone.name, backbone.fingerprint, tensors, card)


def _masked_picture(
    settings: FitSettings, picture: Picture, mask: Picture | None, backbone: LoraBackbone
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels at the fit's size, the weights (1, 1, h, w) of their latent cells, and the pixels without what is black
    in the mask.
    """
    short = settings.fit_size or max(SMALLEST_FIT_SIZE, backbone.native_size)
    working = plan_size(picture.size, short, backbone.multiple).working
    pixels = image_to_pixels(picture.image)
    pixels = F.interpolate(pixels, working[::-1], mode="bilinear", antialias=True).to(backbone.device)
    grid = (working[1] // backbone.factor, working[0] // backbone.factor)
    if mask is None:
        return pixels, torch.ones(1, 1, *grid, device=backbone.device), pixels
    weights = F.interpolate(style_weights(mask), grid, mode="area").to(backbone.device)
    return pixels, weights, masked_pixels(pixels, style_weights(mask, working).to(backbone.device))


def _fitted_adapter(
    settings: FitSettings, targets: Sequence[FitTarget], checkpoint: FitCheckpoint, context: RunContext[LoraBackbone]
) -> tuple[dict[str, Tensor], Curve]:
    """The adapter after all steps, and its mean loss over every ``fit_every`` of them."""
    network = denoising_network(context.backbone)
    generator = torch.Generator().manual_seed(settings.fit_seed)
    fresh = fresh_adapter(network, settings.rank, generator)
    with attached(network, {"style": fresh}), using(network, "style"):
        fit = LoraFit(settings, targets, context.backbone, generator)
        curve = resumable_fit(fit, settings.fit_steps, settings.fit_every, checkpoint, context.progress)
        return fit.adapter(), curve


class LoraFit:
    """The fit of the adapter attached to the network as "style", by AdamW on the noise loss; targets take turns."""

    def __init__(
        self, settings: FitSettings, targets: Sequence[FitTarget], backbone: LoraBackbone, generator: torch.Generator
    ) -> None:
        self.settings, self.targets, self.backbone, self.generator = settings, targets, backbone, generator
        named = denoising_network(backbone).named_parameters()
        self.parameters = {key.replace(".style.", "."): value for key, value in named if ".style." in key}
        for value in self.parameters.values():
            value.requires_grad_()
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=settings.fit_rate, weight_decay=1e-2)
        with torch.no_grad():
            self.shapes = [backbone.encode(target.pixels).shape for target in targets]
        self.losses: list[float] = []

    def initial_loss(self) -> None:
        """Not measured: a LoRA's loss is a mean over training steps."""
        return None

    @torch.enable_grad()
    def step(self, step: int) -> None:
        """One AdamW step on the noise loss of freshly drawn latents, timesteps and noise."""
        loss = self._noise_loss(step % len(self.targets))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses.append(loss.item())

    def _noise_loss(self, number: int) -> Tensor:
        """The squared error of the network's prediction of a target, a weighted mean over cells; latents are sampled
        anew.

        The draws come in the published trainer's order: latents, noise, timesteps.
        """
        backbone, target, count = self.backbone, self.targets[number], self.settings.fit_batch
        with torch.no_grad():
            draws = [torch.randn(self.shapes[number], generator=self.generator) for _ in range(count)]
            latents = torch.cat([backbone.encode(target.pixels, draw) for draw in draws])
        noise = torch.randn(latents.shape, generator=self.generator).to(backbone.device)
        timesteps = torch.randint(len(backbone.schedule), (count,), generator=self.generator).to(backbone.device)
        noisy = add_noise_each(latents, noise, backbone.schedule.alphas_cumprod[timesteps.cpu()].tolist())
        error = (backbone.predict(noisy, timesteps, target.conditioning).noise - noise).square()
        error = error * prediction_weight(backbone.schedule, timesteps)[:, None, None, None]
        return (error * target.weights).sum() / (target.weights.sum() * len(latents) * latents.shape[1])

    def loss(self) -> float:
        """The mean loss of the steps since the last call."""
        mean = sum(self.losses) / len(self.losses)
        self.losses = []
        return mean

    def stops(self, losses: Sequence[float]) -> bool:
        """Never before the last step."""
        return False

    def adapter(self) -> dict[str, Tensor]:
        """The adapter's matrices by name, on the CPU."""
        return {key: value.detach().float().cpu().clone() for key, value in self.parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """The matrices, and AdamW's moments and step counts."""
        moments = {
            f"{kind}.{key}": self.optimizer.state[value][kind]
            for key, value in self.parameters.items()
            for kind in ("step", "exp_avg", "exp_avg_sq")
        }
        return {**self.parameters, **moments}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up ``state``."""
        for key, value in self.parameters.items():
            value.copy_(state[key])
            self.optimizer.state[value] = {
                "step": state[f"step.{key}"],
                "exp_avg": state[f"exp_avg.{key}"].to(value),
                "exp_avg_sq": state[f"exp_avg_sq.{key}"].to(value),
            }


def prediction_weight(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """The factors (B,) that turn the squared error of the noise into that of what the network predicts: 1, or 1 / abar
    for v, or (sqrt(abar) + sqrt(1 - abar))^2 / abar for a flow's velocity.
    """
    abars = schedule.alphas_cumprod[timesteps.cpu()]
    factors = {
        "v_prediction": 1 / abars,
        "flow": (abars.sqrt() + (1 - abars).sqrt()).square() / abars,
    }
    return factors.get(schedule.prediction_type, torch.ones_like(abars)).float().to(timesteps.device)


def _mean_moments(targets: Sequence[FitTarget], context: RunContext[LoraBackbone]) -> dict[str, Tensor]:
    """The means over targets of ``inversion_moments``."""
    found = [inversion_moments(target.pixels, target.weights[0, 0] > 0, context) for target in targets]
    return {name: torch.stack([each[name] for each in found]).mean(0) for name in found[0]}


@torch.no_grad()
def inversion_moments(pixels: Tensor, inside: Tensor, context: RunContext[LoraBackbone]) -> dict[str, Tensor]:
    """Channel moments (levels, 2, 1, C, 1, 1) of a picture's latents along its inversion, over the cells ``inside``
    (h, w); and abar at each level.
    """
    backbone = context.backbone
    levels = backbone.schedule.ddim_levels(MOMENT_STEPS)
    predict = conditional(backbone, context.unconditional())
    trajectory = invert(predict, backbone.encode(pixels), levels, 1, context.progress)
    moments = torch.stack([channel_moments(latents[:, :, None, inside]) for latents in trajectory.latents])
    return {MOMENTS: moments.cpu(), MOMENT_ABARS: torch.tensor(levels.abars)}
