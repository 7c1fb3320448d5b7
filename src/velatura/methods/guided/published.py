"""ZeCon's own loop on an ADM (spec guided, section 1; guided-details 1.3 and 1.4), for comparison.

Kept as published: the inverted latent used as noise a second time, the neighbouring index that guidance works at,
fresh noise for the source in each loss, and the x0 of before the last guidance as the result. Not kept: the losses
are ours, so the VGG term is relative to the content's energy, ZeCon's a mean over its levels, its places drawn by the
run's own generator, and the views of the CLIP losses are not filled with gray.
"""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.diffusion.ancestral import AncestralSchedule, rounded_index, white
from velatura.diffusion.schedules import steps_of_strength
from velatura.errors import SettingError
from velatura.losses import Term, View
from velatura.losses.clip import GlobalClip, PatchClip
from velatura.losses.range import OutOfRange, out_of_range
from velatura.methods.guided.aims import Aim
from velatura.models.backbone import Backbone, Condition
from velatura.models.pixel import PixelBackbone
from velatura.progress import Progress

# The order in which the published guidance adds its losses, each but the first two drawing noise for the source.
ORDER = ("clip", "clip_patch", "clip_dir", "clip_dir_patch", "zecon", "mse_rgb", "vgg_shallow")
UNNOISED = (GlobalClip.name, PatchClip.name)


@torch.no_grad()
def published_run(
    steps: int,
    strength: float,
    start: str,
    pixels: Tensor,
    aim: Aim,
    backbone: Backbone,
    seed: int,
    progress: Progress,
) -> tuple[Tensor, dict[str, float]]:
    """The last x0 (1, 3, H, W), and the losses' last values. Raises SettingError for anything but an ADM."""
    if not isinstance(backbone, PixelBackbone):
        raise SettingError("compat=original of guided is ZeCon's loop, which needs an ADM: give one with --model.")
    schedule, condition = AncestralSchedule.of(str(steps), backbone.shape.schedule), backbone.text([""])
    generator, run = torch.Generator().manual_seed(seed), steps_of_strength(steps, strength)
    if not run:
        return pixels, {}
    drawn = [white(pixels.shape, generator), white(pixels.shape, generator)]  # the first is thrown away there
    noise = drawn[1] if start == "noise" else inverted(pixels, schedule, run, backbone, condition)
    x, clean, values = schedule.noised(pixels, noise.to(pixels), run - 1), pixels, dict[str, float]()
    for index in progress.track(range(run)[::-1], "denoising"):
        predicted, logits = backbone.noise_and_variance(x, schedule.timesteps[index], condition)
        prediction = schedule.predicted(x, predicted, logits, index)
        fresh = white(pixels.shape, generator).to(pixels)
        gradient, values = guidance(x, pixels, schedule, index, aim, backbone, condition, generator)
        progress.note(**values)
        clean = prediction.clean
        x = schedule.ancestral_step(prediction, fresh, index, gradient)
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
        for name in (name for name in ORDER if name in terms):
            content = aim.content
            if name not in UNNOISED:
                content = noised_content(pixels, share, schedule, at, aim, terms[name], generator)
            value = terms[name].loss(view, content)
            total, values[name] = total + terms[name].weight * value, value.item()
        if OutOfRange.name in terms:
            value = out_of_range(clean).sum()
            total, values[OutOfRange.name] = total + terms[OutOfRange.name].weight * value, value.item()
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
