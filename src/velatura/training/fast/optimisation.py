"""One step of the fast adapter's training, and all that it changes."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.even_levels import even_timesteps
from velatura.models.features.vgg import hed_trunk
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_adapter import adapted, fast_unet, fresh_adapter, v_beside
from velatura.models.noise_schedule import split_v
from velatura.training.fast.batches import FastBatch
from velatura.training.fast.losses import stylisation_loss
from velatura.training.fast.recipe import FastRecipe
from velatura.training.fast.style_targets import StyleTarget
from velatura.training.recolouring import recolouring_noise

PAIRED_LEVELS = (60, 860)  # timesteps of the paired rows
Weights = Mapping[str, Tensor]
Style = tuple[Tensor, Tensor]  # text states (B, L, W) and style vectors (B, 100)


class FastOptimisation:
    """The optimisation of an adapter on the model's device, with a running average of it."""

    def __init__(self, backbone: HouseBackbone, recipe: FastRecipe) -> None:
        self.backbone, self.recipe, self.device = backbone, recipe, backbone.device
        self.trunk = copy.deepcopy(hed_trunk()).to(self.device, torch.bfloat16)
        self.unet = fast_unet(backbone.unet).to(self.device, memory_format=torch.channels_last)
        self.weights = {name: value.detach() for name, value in self.unet.named_parameters()}
        fresh = fresh_adapter(self.weights, recipe.rank)
        self.adapter = {name: value.to(self.device).requires_grad_(True) for name, value in fresh.items()}
        self.average = {name: value.detach().clone() for name, value in self.adapter.items()}
        self.optimizer = torch.optim.AdamW(list(self.adapter.values()), betas=(0.9, 0.99), weight_decay=0, fused=True)
        self.abars = backbone.schedule.alphas_cumprod.float().to(self.device)
        self.steps = 0
        self.found: list[Mapping[str, float]] = []

    def restore(self, state: dict[str, Any]) -> int:
        """Take up a checkpoint; returns the steps that are done."""
        with torch.no_grad():
            for name, value in self.adapter.items():
                value.copy_(state["adapter"][name])
                self.average[name].copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = int(state["step"])
        return self.steps

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, without the steps."""
        adapter = {name: value.detach() for name, value in self.adapter.items()}
        return {"adapter": adapter, "average": self.average, "optimizer": self.optimizer.state_dict()}

    def step(self, batch: FastBatch, learning_rate: float) -> None:
        """One optimiser step on a batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        weights = adapted(self.weights, self.adapter)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, numbers = self._loss(batch, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(list(self.adapter.values()), 1.0)
        self.optimizer.step()
        self.steps += 1
        decay = min(self.recipe.average_decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.adapter.items():
                self.average[name].lerp_(value, 1 - decay)
        self.found.append({**numbers, "norm": norm.item()})

    def _loss(self, batch: FastBatch, weights: Weights) -> tuple[Tensor, dict[str, float]]:
        recipe, guided, followed = self.recipe, batch.rows.guided, batch.rows.followed
        rolled = guided + followed
        states, vectors = self._style(batch.styles)
        with torch.no_grad():
            contents, targets = self.backbone.encode(batch.contents), self.backbone.encode(batch.targets)
            noisy, level, call = self._rolled_out(weights, contents[:rolled], (states[:rolled], vectors[:rolled]))
            drawn, levels, wanted = self._paired(contents[rolled:], targets[followed:])
            kept = torch.rand(len(drawn), 1, 1, 1, device=self.device) >= recipe.dropped_share
            beside = torch.cat([contents[:rolled], contents[rolled:] * kept])
        timesteps = torch.cat([torch.full((rolled,), level, device=self.device), levels])
        v = self._v(weights, torch.cat([noisy, drawn]), beside, timesteps, (states, vectors))
        x0, _ = split_v(noisy, v[:rolled], self.abars[timesteps[:rolled]])
        follow, v_loss = F.mse_loss(x0[guided:], targets[:followed]), F.mse_loss(v[rolled:], wanted)
        loss = recipe.follow_weight * follow + recipe.v_weight * v_loss
        numbers = {"follow": follow.item(), "v": v_loss.item()}
        if guided:
            shown = batch.contents[:guided].to(self.device)
            styled, parts = stylisation_loss(
                self.backbone.decode(x0[:guided]), shown, batch.features, self.trunk, recipe.weights
            )
            loss = loss + styled
            numbers |= {**parts, f"gram_of_call_{call + 1}": parts["gram"]}
        return loss, numbers

    def _style(self, styles: Sequence[StyleTarget]) -> Style:
        states = torch.cat([style.painted.states for style in styles])
        vectors = torch.cat([style.painted.vector for style in styles])
        return states.to(self.device), vectors.to(self.device)

    def _v(self, weights: Weights, noisy: Tensor, content: Tensor, timesteps: Tensor, style: Style) -> Tensor:
        """v, in float32, of the network with these weights."""

        def unet(latents: Tensor, *inputs: Tensor, class_labels: Tensor) -> Any:
            inputs = (latents.contiguous(memory_format=torch.channels_last), *inputs)
            return torch.func.functional_call(self.unet, dict(weights), inputs, {"class_labels": class_labels})

        return v_beside(unet, noisy, content, timesteps, style).float()

    def _rolled_out(self, weights: Weights, contents: Tensor, style: Style) -> tuple[Tensor, int, int]:
        """Latents before a random one of the calls of a run that starts from noised contents, the call's timestep and
        its number from 0.
        """
        shares = self.recipe.call_shares
        call = random.choices(range(len(shares)), shares)[0]
        levels = even_timesteps(random.randint(*self.recipe.start), len(shares))
        abars = self.abars[list(levels)]
        latents = abars[0].sqrt() * contents + (1 - abars[0]).sqrt() * torch.randn_like(contents)
        for level, abar, following in zip(levels[:call], abars, abars[1:], strict=False):
            timesteps = torch.full((len(latents),), level, device=self.device)
            v = self._v(weights, latents, contents, timesteps, style)
            x0, noise = split_v(latents, v, abar.expand(len(latents)))
            latents = following.sqrt() * x0 + (1 - following).sqrt() * noise
        return latents, levels[call], call

    def _paired(self, contents: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents of targets, half of them as if they came from the contents, their timesteps and their v."""
        levels = torch.randint(*PAIRED_LEVELS, (len(targets),), device=self.device)
        shown = torch.rand(len(targets), 1, 1, 1, device=self.device) < 0.5
        start = torch.where(shown, contents, targets)
        noise = recolouring_noise(torch.randn_like(targets), targets, start, self.abars[levels])
        root, rest = (abars[:, None, None, None].sqrt() for abars in (self.abars[levels], 1 - self.abars[levels]))
        return root * targets + rest * noise, levels, root * noise - rest * targets

    def take(self) -> dict[str, float]:
        """The means of what was found since the last call."""
        names = sorted({name for numbers in self.found for name in numbers})
        rows = {name: [numbers[name] for numbers in self.found if name in numbers] for name in names}
        self.found = []
        return {name: round(sum(values) / len(values), 4) for name, values in rows.items()}
