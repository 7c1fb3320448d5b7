"""One step of the fast adapter's training, and all that it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.even_levels import even_timesteps
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_adapter import adapted, fast_unet, fresh_adapter, of_rank, v_beside
from velatura.models.noise_schedule import split_v
from velatura.training.fast.losses import latent_texture
from velatura.training.fast.pairs import PairRows
from velatura.training.fast.recipe import FastRecipe
from velatura.training.running_average import update_average
from velatura.training.training_log import means_of

CALLS = 4  # of the network, at use
Weights = Mapping[str, Tensor]
Style = tuple[Tensor, Tensor]  # text states (B, L, W) and style vectors (B, 100)


class FastOptimisation:
    """The optimisation of an adapter on the model's device, with a running average of it.

    It starts from the model's own adapter where there is one, else from one that changes nothing.
    """

    def __init__(self, backbone: HouseBackbone, recipe: FastRecipe) -> None:
        self.backbone, self.recipe, self.device = backbone, recipe, backbone.device
        self.unet = fast_unet(backbone.unet).to(self.device, memory_format=torch.channels_last)
        self.weights = {name: value.detach() for name, value in self.unet.named_parameters()}
        own = backbone.fast_adapter
        start = fresh_adapter(self.weights, recipe.rank) if own is None else of_rank(own, recipe.rank)
        # In order of their names: the optimiser keeps its state by numbers.
        self.adapter = {name: start[name].float().to(self.device).requires_grad_(True) for name in sorted(start)}
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

    def step(self, rows: PairRows, learning_rate: float) -> None:
        """One optimiser step on a batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        contents, targets, style = self._moved(rows)
        weights = adapted(self.weights, self.adapter)
        with torch.no_grad():
            noisy, levels = self._as_at_use(weights, contents, style)
        v = self._v(weights, noisy, contents, levels, style)
        x0, _ = split_v(noisy, v, self.abars[levels])
        place, texture = F.mse_loss(x0, targets), latent_texture(x0, targets)
        self.optimizer.zero_grad(set_to_none=True)
        (place + self.recipe.texture_weight * texture).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(list(self.adapter.values()), 1.0)
        self.optimizer.step()
        self.steps += 1
        update_average(self.average.values(), self.adapter.values(), self.steps, self.recipe.average_decay)
        self.found.append({"place": place.item(), "texture": texture.item(), "norm": norm.item()})

    @torch.no_grad()
    def check(self, rows: PairRows) -> dict[str, float]:
        """Mean squared error of the averaged adapter's last call to the targets, for fixed noise."""
        contents, targets, style = self._moved(rows)
        weights = adapted(self.weights, self.average)
        levels = even_timesteps(self.recipe.start, CALLS)
        abars = self.abars[list(levels)]
        noise = torch.randn(contents.shape, generator=torch.Generator().manual_seed(0)).to(contents)
        latents = abars[0].sqrt() * contents + (1 - abars[0]).sqrt() * noise
        for level, abar, following in zip(levels, abars, [*abars[1:], torch.ones((), device=self.device)], strict=True):
            timesteps = torch.full((len(latents),), level, device=self.device)
            v = self._v(weights, latents, contents, timesteps, style)
            x0, rest = split_v(latents, v, abar.expand(len(latents)))
            latents = following.sqrt() * x0 + (1 - following).sqrt() * rest
        return {"held_out": round(F.mse_loss(latents, targets).item(), 5)}

    def _moved(self, rows: PairRows) -> tuple[Tensor, Tensor, Style]:
        contents, targets, vectors = (each.to(self.device) for each in rows)
        return contents, targets, (self.backbone.painted_style(vectors).states, vectors)

    def _v(self, weights: Weights, noisy: Tensor, content: Tensor, timesteps: Tensor, style: Style) -> Tensor:
        """v, in float32, of the network with these weights."""

        def unet(latents: Tensor, *inputs: Tensor, class_labels: Tensor) -> Any:
            inputs = (latents.contiguous(memory_format=torch.channels_last), *inputs)
            return torch.func.functional_call(self.unet, dict(weights), inputs, {"class_labels": class_labels})

        with torch.autocast(self.device.type, torch.bfloat16):
            return v_beside(unet, noisy, content, timesteps, style).float()

    def _as_at_use(self, weights: Weights, contents: Tensor, style: Style) -> tuple[Tensor, Tensor]:
        """Noisy latents of contents (B, C, h, w) and their timesteps (B,): of the content itself, as in a first call,
        or of the network's own estimate, with the noise that it leaves, as in a later one.
        """
        recipe, count = self.recipe, len(contents)
        calls = (recipe.first_call, recipe.later_calls)
        first = torch.rand(count, device=self.device) < recipe.first_share
        early, late = (torch.randint(low, high + 1, (count,), device=self.device) for low, high in calls)
        levels, noise = torch.where(first, early, late), torch.randn_like(contents)
        later = ~first
        if not later.any():
            return self._noised(contents, noise, levels), levels
        start = torch.full((int(later.sum()),), recipe.start, device=self.device)
        noisy = self._noised(contents[later], noise[later], start)
        v = self._v(weights, noisy, contents[later], start, (style[0][later], style[1][later]))
        estimate, rest = split_v(noisy, v, self.abars[start])
        clean, noise = contents.index_put((later,), estimate), noise.index_put((later,), rest)
        return self._noised(clean, noise, levels), levels

    def _noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of clean latents (B, C, h, w) at timesteps (B,)."""
        abars = self.abars[timesteps][:, None, None, None]
        return abars.sqrt() * clean + (1 - abars).sqrt() * noise

    def take(self) -> dict[str, float]:
        """The means of what was found since the last call."""
        found, self.found = self.found, []
        return means_of(found)
