"""How the losses' gradient moves a denoising step.

Notation: s = sqrt(1 - abar), x0_hat = (x_t - s eps) / sqrt(abar), L the weighted sum of losses on decode(x_in).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from velatura.diffusion.denoising import DenoisingStep
from velatura.diffusion.inversion import Predict
from velatura.losses import LossInput
from velatura.methods.guided.flat_places import smoothed
from velatura.methods.guided.objectives import RegionObjective
from velatura.methods.latent_grid import without_grid
from velatura.models.backbone import Backbone, Prediction
from velatura.models.noise_schedule import add_noise, predict_x0

Values = dict[str, float]
LossInputOf = Callable[[Tensor, DenoisingStep], Tensor]
GradientScale = Callable[[Tensor, float], Tensor]


def x0_input(x0: Tensor, step: DenoisingStep) -> Tensor:
    """x_in = x0_hat (Bansal et al. 2023)."""
    return x0


def blended_input(x0: Tensor, step: DenoisingStep) -> Tensor:
    """x_in = f x0_hat + (1 - f) x_t with f = sqrt(1 - abar), as in ZeCon and the poster."""
    share = math.sqrt(1 - step.abar)
    return share * x0 + (1 - share) * step.latents


LOSS_INPUTS: Mapping[str, LossInputOf] = {"x0": x0_input, "blend": blended_input}


def root_mean_square(gradient: Tensor) -> Tensor:
    """The rms (B, 1, 1, 1) of each picture's gradient (B, C, h, w), at least 1e-12."""
    return gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


def rms(gradient: Tensor, limit: float) -> Tensor:
    """limit g / rms(g): always of rms ``limit``, so that only the ratios of the weights matter; 0 stays 0."""
    return limit * (gradient / root_mean_square(gradient))


def clipped(gradient: Tensor, limit: float) -> Tensor:
    """g min(1, limit / rms(g)): of rms ``limit`` at most."""
    return gradient * (limit / root_mean_square(gradient)).clamp(max=1.0)


def raw(gradient: Tensor, _limit: float) -> Tensor:
    """g itself: the weights alone decide, as published."""
    return gradient


GRADIENT_SCALES: Mapping[str, GradientScale] = {"rms": rms, "clipped": clipped, "raw": raw}


def at_resolution(pixels: Tensor, side: int) -> Tensor:
    """Pixels (B, 3, H, W) shrunk to a short side of ``side`` (0: as they are), never enlarged; aspect kept."""
    short = min(pixels.shape[2:])
    if not side or short <= side:
        return pixels
    size = [round(length * side / short) for length in pixels.shape[2:]]
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)


class Traced:
    """A predictor that keeps the graph of its last call, so that the sampler's pass serves the gradient too."""

    def __init__(self, predict: Predict) -> None:
        self.predict = predict
        self._latents: Tensor | None = None
        self._graph: tuple[Tensor, Prediction] | None = None

    def __call__(self, latents: Tensor, timestep: int) -> Prediction:
        """The prediction, outside the graph."""
        prediction = self.graph(latents, timestep)[1]
        variance = prediction.variance
        return Prediction(prediction.noise.detach(), None if variance is None else variance.detach())

    def graph(self, latents: Tensor, timestep: int) -> tuple[Tensor, Prediction]:
        """A leaf with the values of ``latents``, and the prediction from it."""
        if self._graph is None or self._latents is not latents:
            with torch.enable_grad():
                leaf = latents.detach().requires_grad_()
                self._latents, self._graph = latents, (leaf, self.predict(leaf, timestep))
        return self._graph

    def forget(self) -> None:
        """Free the graph."""
        self._latents = self._graph = None


def recomputed(predict: Predict) -> Predict:
    """The same prediction, whose activations are computed again for the gradient instead of being kept."""

    def predict_again(latents: Tensor, timestep: int) -> Prediction:
        prediction: Prediction = checkpoint(predict, latents, timestep, use_reentrant=False)
        return prediction

    return predict_again


@dataclass(frozen=True, eq=False)
class Steering:
    """Moves denoising steps of one content against the gradient of its regions' losses.

    ``gradient_scale`` turns s g into a push on the noise of rms ``guidance_rms``, over ``gradient_steps`` pushes.
    Losses take ``loss_input``, decoded and at a short side of ``loss_resolution`` pixels at most (0: as it is).
    In the channels of ``grid`` (C,) pushes lose their local mean (None: in none). Where the content is ``flat``
    (1, 1, h, w), in 0..1, gradients are blurred before they are scaled (None: nowhere).
    """

    backbone: Backbone
    predict: Traced
    objectives: Sequence[RegionObjective]
    latents: Tensor  # of the content, clean
    loss_input: LossInputOf = x0_input
    gradient_scale: GradientScale = rms
    guidance_rms: float = 0.25
    gradient_steps: int = 1
    loss_resolution: int = 0
    grid: Tensor | None = None
    flat: Tensor | None = None

    def through_unet(self, step: DenoisingStep) -> tuple[DenoisingStep, Values]:
        """eps' = eps + scale(s dL/dx_t), the gradient through the UNet (Dhariwal & Nichol 2021, algorithm 2).

        All pushes of a step share one pass.
        """
        self.begin(step)
        values, pushed = Values(), torch.zeros_like(step.noise)
        latents, prediction = self.predict.graph(step.latents, step.timestep)
        for _ in range(self.gradient_steps):
            with torch.enable_grad():
                x0 = predict_x0(latents, prediction.noise + pushed, step.abar)
                push, values = self.push(x0, replace(step, latents=latents), latents)
            pushed = pushed + push
        self.predict.forget()
        return step.with_noise(step.noise + pushed), values

    def through_x0(self, step: DenoisingStep) -> tuple[DenoisingStep, Values]:
        """x0' = x0_hat - s scale(s dL/dx0_hat), the noise kept: the gradient stops at x0_hat (He et al. 2024)."""
        self.begin(step)
        values = Values()
        for _ in range(self.gradient_steps):
            with torch.enable_grad():
                x0 = step.x0.detach().requires_grad_()
                push, values = self.push(x0, step, x0)
            step = step.with_x0(x0.detach() - math.sqrt(1 - step.abar) * push)
        return step, values

    def begin(self, step: DenoisingStep) -> None:
        """Begin a step: what the losses draw in it does not depend on the steps before."""
        for region in self.objectives:
            region.begin(step.index)

    def push(self, x0: Tensor, step: DenoisingStep, leaf: Tensor) -> tuple[Tensor, Values]:
        """The sum over regions of share * scale(s dL/dleaf), and the losses' values by name (and region)."""
        latents = self.loss_input(x0, step)
        pixels, values, push = self.decode(latents), Values(), torch.zeros_like(leaf)
        for number, region in enumerate(self.objectives):
            if not region.span.contains(step.progress):
                continue
            loss, found = region.objective(pixels, latents, self.content(region, step), step.progress)
            if not found:
                continue
            # More pushes, or other regions, may come through the same graph.
            gradient = torch.autograd.grad(loss, leaf, retain_graph=True)[0]
            gradient = gradient if self.flat is None else smoothed(gradient, self.flat)
            limit = self.guidance_rms / self.gradient_steps
            scaled = self.gradient_scale(math.sqrt(1 - step.abar) * gradient, limit)
            scaled = scaled if self.grid is None else without_grid(scaled, self.grid)
            share = region.shares.get(step.timestep, region.share)
            push = push + (scaled if share is None else share * scaled)
            several = len(self.objectives) > 1
            values |= {f"{name}.{number}": value for name, value in found.items()} if several else found
        return push, values

    @torch.no_grad()
    def content(self, region: RegionObjective, step: DenoisingStep) -> LossInput:
        """The content as a step's result is compared with it; for a blend, noised by the step's own noise."""
        fixed = region.content(step.index)
        if self.loss_input is x0_input:
            return fixed
        noised = replace(step, latents=add_noise(self.latents, step.noise, step.abar))
        latents = self.loss_input(self.latents, noised)
        terms = region.objective.acting(step.progress)
        return region.objective.loss_input(self.decode(latents), latents, terms, fixed.crop)

    def decode(self, latents: Tensor) -> Tensor:
        """The pixels that losses compare."""
        return at_resolution(self.backbone.decode(latents), self.loss_resolution)


GRADIENTS: Mapping[str, Callable[[Steering, DenoisingStep], tuple[DenoisingStep, Values]]] = {
    "x0": Steering.through_x0,
    "unet": Steering.through_unet,
}
