"""How the losses' gradient moves a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from velatura.diffusion.inversion import Predict
from velatura.diffusion.sampling import Moment, towards
from velatura.diffusion.schedules import add_noise, clean_of
from velatura.losses import View
from velatura.methods.guided.aims import Aim
from velatura.models.backbone import Backbone

Values = dict[str, float]
Scale = Callable[[Tensor, float], Tensor]


class Traced:
    """A predictor that keeps the graph of its last call, so that the sampler's pass serves the gradient too."""

    def __init__(self, predict: Predict) -> None:
        self.predict = predict
        self._asked: Tensor | None = None
        self._graph: tuple[Tensor, Tensor] | None = None

    def __call__(self, latents: Tensor, timestep: int) -> Tensor:
        return self.graph(latents, timestep)[1].detach()

    def graph(self, latents: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
        """A leaf with the values of ``latents``, and the noise predicted from it."""
        if self._graph is None or self._asked is not latents:
            with torch.enable_grad():
                leaf = latents.detach().requires_grad_()
                self._asked, self._graph = latents, (leaf, self.predict(leaf, timestep))
        return self._graph

    def forget(self) -> None:
        """Let go of the graph and what it keeps."""
        self._asked = self._graph = None


@dataclass(frozen=True)
class Steering:
    """Moves each moment against the gradient of what the ``aims`` want.

    ``scale`` turns a gradient, times sqrt(1 - abar), and a ``force`` into a push on the noise; ``inner`` pushes share
    a step. ``look`` gives the latents that the losses see, of the clean estimate and the moment; they see them decoded
    and made no larger than ``sight`` (short side in pixels; 0: as they are).
    """

    backbone: Backbone
    predict: Traced
    aims: Sequence[Aim]
    latents: Tensor  # of the content
    look: Callable[[Tensor, Moment], Tensor]
    scale: Scale
    force: float
    inner: int
    total: int  # steps of the run
    sight: int = 0

    def through_unet(self, moment: Moment) -> tuple[Moment, Values]:
        """eps' = eps + push, by the gradient with respect to x_t (guided-details 1.4, 1.6); one pass for all pushes."""
        values, pushed = Values(), torch.zeros_like(moment.noise)
        latents, noise = self.predict.graph(moment.latents, moment.timestep)
        for _ in range(self.inner):
            with torch.enable_grad():
                clean = clean_of(latents, noise + pushed, moment.abar)
                push, values = self.push(clean, replace(moment, latents=latents), latents)
            pushed = pushed + push
        self.predict.forget()
        return replace(moment, noise=moment.noise + pushed), values

    def at_clean(self, moment: Moment) -> tuple[Moment, Values]:
        """x0' = x0_hat - sqrt(1 - abar) push, the noise kept: the gradient stops at x0_hat (guided-details 1.7)."""
        values: Values = {}
        for _ in range(self.inner):
            with torch.enable_grad():
                clean = moment.clean.detach().requires_grad_()
                push, values = self.push(clean, moment, clean)
            moment = towards(moment, clean.detach() - math.sqrt(1 - moment.abar) * push)
        return moment, values

    def push(self, clean: Tensor, moment: Moment, leaf: Tensor) -> tuple[Tensor, Values]:
        """The aims' scaled gradients with respect to ``leaf``, each where it acts; and the losses' values by name."""
        seen = self.look(clean, moment)
        pixels, passed, values = self.decoded(seen), moment.index / max(1, self.total - 1), Values()
        push = torch.zeros_like(leaf)
        for number, aim in enumerate(self.aims):
            if not aim.span[0] <= passed <= aim.span[1]:
                continue
            loss, found = aim.objective(pixels, seen, self.content(aim, moment, passed), passed)
            if not found:
                continue
            # More pushes, or other aims, may come through the same graph.
            gradient = torch.autograd.grad(loss, leaf, retain_graph=True)[0]
            scaled = self.scale(math.sqrt(1 - moment.abar) * gradient, self.force / self.inner)
            push = push + (scaled if aim.share is None else aim.share * scaled)
            values |= found if len(self.aims) == 1 else {f"{name}.{number}": value for name, value in found.items()}
        return push, values

    @torch.no_grad()
    def content(self, aim: Aim, moment: Moment, passed: float) -> View:
        """The content, looked at as the result is: noised by the moment's own noise where the look wants noise."""
        if self.look is clean_look:
            return aim.content(moment.index)
        noised = replace(moment, latents=add_noise(self.latents, moment.noise, moment.abar))
        seen = self.look(self.latents, noised)
        window = aim.content(moment.index).window
        return aim.objective.view(self.decoded(seen), seen, aim.objective.acting(passed), window)

    def decoded(self, latents: Tensor) -> Tensor:
        """The picture that losses look at."""
        return within_sight(self.backbone.decode(latents), self.sight)


def within_sight(pixels: Tensor, sight: int) -> Tensor:
    """Pixels (B, 3, H, W) whose short side is at most ``sight``, if that is not 0; aspect kept."""
    short = min(pixels.shape[2:])
    if not sight or short <= sight:
        return pixels
    size = [round(side * sight / short) for side in pixels.shape[2:]]
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)


def clean_look(clean: Tensor, moment: Moment) -> Tensor:
    """The clean estimate itself."""
    return clean


def blended_look(clean: Tensor, moment: Moment) -> Tensor:
    """x_in = f x0_hat + (1 - f) x_t, f = sqrt(1 - abar): what ZeCon and the poster look at."""
    share = math.sqrt(1 - moment.abar)
    return share * clean + (1 - share) * moment.latents


def normalised(gradient: Tensor) -> Tensor:
    """A gradient (B, C, H, W) brought to rms 1 for each picture; zero stays zero."""
    rms = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    return gradient / rms.clamp(min=1e-12)


def rms_scale(gradient: Tensor, force: float) -> Tensor:
    """Always as long as ``force`` says, so that weights need no tuning."""
    return force * normalised(gradient)


def raw_scale(gradient: Tensor, force: float) -> Tensor:
    """The gradient itself: the losses' weights alone decide, as published."""
    return gradient


def clipped_scale(gradient: Tensor, force: float) -> Tensor:
    """The gradient itself up to an rms of ``force``."""
    rms = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    return gradient * (force / rms.clamp(min=1e-12)).clamp(max=1.0)


SCALES: dict[str, Scale] = {"rms": rms_scale, "raw": raw_scale, "clipped": clipped_scale}
LOOKS: dict[str, Callable[[Tensor, Moment], Tensor]] = {"clean": clean_look, "blend": blended_look}


def recomputed(predict: Predict) -> Predict:
    """The same prediction, whose inner activations are computed again for the gradient instead of being kept."""

    def again(latents: Tensor, timestep: int) -> Tensor:
        noise: Tensor = checkpoint(predict, latents, timestep, use_reentrant=False)
        return noise

    return again
