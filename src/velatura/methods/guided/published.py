"""ZeCon's own loop on an ADM, with its own losses (spec guided, section 1; guided-details 1.3, 1.4 and 2).

Kept as published: the inverted latent used as noise a second time, the neighbouring index that guidance works at and
that its gates compare, fresh noise for the source in each loss, one generator for all noise and warps, and the x0 of
before the last guidance as the result. Its warps are drawn from the same distributions, not by the same calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.diffusion.ancestral import AncestralSchedule, rounded_index, white
from velatura.diffusion.schedules import steps_of_strength
from velatura.errors import SettingError
from velatura.losses import Term, View
from velatura.losses.clip import GlobalClip, PatchClip
from velatura.losses.mse import PixelMSE
from velatura.losses.published import PUBLISHED_LOSSES
from velatura.losses.range import OutOfRange, out_of_range
from velatura.losses.vgg import ShallowFeatureMSE
from velatura.methods.guided.aims import Aim
from velatura.models.backbone import Backbone, Condition
from velatura.models.pixel import PixelBackbone
from velatura.progress import Progress

UNNOISED = (GlobalClip.name, PatchClip.name)  # the others draw noise for the source before they look
GATES = {PixelMSE.name: 700, ShallowFeatureMSE.name: 800}  # indices from which a loss does not count


def check_published(weights: Mapping[str, float]) -> None:
    """Raise SettingError for a loss that ZeCon has not."""
    foreign = [name for name, weight in weights.items() if weight and name not in PUBLISHED_LOSSES]
    if foreign:
        raise SettingError(
            f"compat=original of guided is ZeCon's loop, which has no loss {', '.join(foreign)}: use --preset "
            f"zecon-original, or weights of {', '.join(PUBLISHED_LOSSES)} only."
        )


def check_adm(backbone: Backbone) -> PixelBackbone:
    """The backbone, which must be an ADM. Raises SettingError for others."""
    if not isinstance(backbone, PixelBackbone):
        raise SettingError("compat=original of guided is ZeCon's loop, which needs an ADM: give one with --model.")
    return backbone


@dataclass(frozen=True)
class PublishedRun:
    """ZeCon's loop: ``steps`` and the share of them that is run, its ``start`` ("inversion" or "noise"), its
    ``sampler`` ("ddpm", with the learned variance, or "ddim", with ``eta``).
    """

    steps: int
    strength: float
    start: str
    sampler: str
    eta: float

    def __post_init__(self) -> None:
        if self.sampler not in ("ddpm", "ddim"):
            raise SettingError(f"compat=original of guided samples by ddpm or ddim, not by {self.sampler}.")

    @torch.no_grad()
    def __call__(
        self, pixels: Tensor, aim: Aim, backbone: PixelBackbone, generator: torch.Generator, progress: Progress
    ) -> tuple[Tensor, dict[str, float]]:
        """The last x0 (1, 3, H, W), and the losses' last values."""
        schedule, condition = AncestralSchedule.of(str(self.steps), backbone.shape.schedule), backbone.text([""])
        run = steps_of_strength(self.steps, self.strength)
        if not run:
            return pixels, {}
        drawn = [white(pixels.shape, generator), white(pixels.shape, generator)]  # the first is thrown away there
        noise = drawn[1] if self.start == "noise" else inverted(pixels, schedule, run, backbone, condition)
        x, clean, values = schedule.noised(pixels, noise.to(pixels), run - 1), pixels, dict[str, float]()
        for index in progress.track(range(run)[::-1], "denoising"):
            predicted, logits = backbone.noise_and_variance(x, schedule.timesteps[index], condition)
            prediction = schedule.predicted(x, predicted, logits, index)
            # Noise is drawn before what guidance draws, or after it, as each of the two samplers does there.
            if self.sampler == "ddpm":
                fresh, clean = white(pixels.shape, generator).to(pixels), prediction.clean
                gradient, values = guidance(x, pixels, schedule, index, aim, backbone, condition, generator)
                x = schedule.ancestral_step(prediction, fresh, index, gradient)
            else:
                gradient, values = guidance(x, pixels, schedule, index, aim, backbone, condition, generator)
                fresh = white(pixels.shape, generator).to(pixels)
                x, clean = schedule.ddim_step(x, prediction.clean, fresh, index, self.eta, gradient)
            progress.note(**values)
        return clean, values


def inverted(
    pixels: Tensor, schedule: AncestralSchedule, run: int, backbone: PixelBackbone, condition: Condition
) -> Tensor:
    """DDIM's way up over the first ``run`` levels, one beyond the level that denoising starts from."""
    x = pixels
    for index in range(run):
        noise = backbone.predict(x, schedule.timesteps[index], condition)
        x = schedule.ddim_reverse(x, schedule.clean_of(x, noise, index), index)
    return x


def guidance(
    x: Tensor,
    pixels: Tensor,
    schedule: AncestralSchedule,
    index: int,
    aim: Aim,
    backbone: PixelBackbone,
    condition: Condition,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """-dL/dx_t through the UNet, at the index that the published code computes from the timestep."""
    at = rounded_index(schedule.timesteps[index], len(schedule))
    share = float((1 - schedule.abars[at]) ** 0.5)
    terms = {term.loss.name: term for term in aim.objective.terms}
    values: dict[str, float] = {}
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        noise = backbone.predict(x, schedule.timesteps[at], condition)
        clean = schedule.clean_of(x, noise, at)
        seen = share * clean + (1 - share) * x
        view, total = aim.objective.view(seen, seen, tuple(terms.values())), x.new_zeros(())
        for name in (name for name in PUBLISHED_LOSSES if name in terms and at < GATES.get(name, len(schedule))):
            if name == OutOfRange.name:
                value = out_of_range(clean).sum()
            elif name in UNNOISED:
                value = terms[name].loss(view, aim.content(index))
            else:
                content = noised_content(pixels, share, schedule, at, aim, terms[name], generator)
                value = terms[name].loss(view, content)
            total, values[name] = total + terms[name].weight * value, value.item()
        if not values:
            return torch.zeros_like(x), values
        return -torch.autograd.grad(total, x)[0], values


@torch.no_grad()
def noised_content(
    pixels: Tensor,
    share: float,
    schedule: AncestralSchedule,
    at: int,
    aim: Aim,
    term: Term,
    generator: torch.Generator,
) -> View:
    """y_in, as one loss sees it: the source mixed with a freshly noised copy of itself."""
    noise = white(pixels.shape, generator).to(pixels)
    seen = share * pixels + (1 - share) * schedule.noised(pixels, noise, at)
    return aim.objective.view(seen, seen, (term,))
