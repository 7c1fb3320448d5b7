"""Fitting a style's word: InST's recipe against ours, on the same frozen model and the same check.

python benchmarks/fitting.py PICTURE [--steps 400] prints UNet evaluations and seconds until ours reaches the loss that
the published recipe ends with. The check is the published one's own picture (whole, squashed, and mirrored) at fixed
timesteps and noises, so that neither is measured on what only it has seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.fitting import Views, make_views, noise_loss, optimise, spread_timesteps, warm_start
from velatura.models.loading import load_backbone
from velatura.picture import image_to_pixels, open_picture
from velatura.progress import Silent

HEADS, HEAD_WIDTH, DROPOUT, RATE, CHECKED = 8, 64, 0.05, 1e-4, 32


class PublishedModule(nn.Module):
    """InST's module A on one token, where both softmaxes are 1: attn1 reaches nothing and is left out."""

    def __init__(self, seen: int, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(seen, HEADS * HEAD_WIDTH, bias=False)
        self.out = nn.Linear(HEADS * HEAD_WIDTH, seen)
        self.projection = nn.Linear(seen, width)

    def forward(self, embeddings: Tensor) -> Tensor:
        attended = F.dropout(self.out(self.value(embeddings)), DROPOUT, self.training)
        words: Tensor = self.projection(F.dropout(attended, DROPOUT, self.training))
        return words[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="house")
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    backbone = load_backbone(asked.model, dtype="fp32")
    side = backbone.native_size
    pixels = image_to_pixels(open_picture(asked.picture).image, (side, side)).to(backbone.device)
    both = torch.cat([pixels, pixels.flip(-1)])
    with torch.no_grad():
        seen = torch.cat([backbone.see(view[None]) for view in both])
        latents = backbone.encode(both)
    whole = Views(latents, seen, torch.ones_like(latents[:, :1]))
    fixed = torch.Generator().manual_seed(1)
    checked = whole.at(torch.arange(CHECKED) % 2)
    times = spread_timesteps(CHECKED, len(backbone.alphas_cumprod), fixed)
    noises = torch.randn(checked.latents.shape, generator=fixed)

    def check(word_map: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            parts = [slice(first, first + 8) for first in range(0, CHECKED, 8)]
            return sum(
                noise_loss(word_map, checked.at(torch.arange(CHECKED)[p]), times[p], noises[p], backbone).item()
                for p in parts
            ) / len(parts)

    torch.manual_seed(0)
    module = PublishedModule(seen.shape[1], backbone.word_width)
    # CLIP's embeddings have length 1: the house model's are brought to it, so that the published rates mean the same.
    unit = Views(whole.latents, F.normalize(whole.embeddings), whole.weights)
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.01)

    def check_module() -> float:
        module.eval()
        loss = check(lambda embeddings: module(F.normalize(embeddings)))
        module.train()
        return loss

    print(f"the published recipe: {check_module():.5f} before", flush=True)
    started, draws = time.perf_counter(), torch.Generator().manual_seed(0)
    for step in range(1, asked.steps + 1):
        view = unit.at(torch.randint(2, (1,), generator=draws))
        timestep = torch.randint(len(backbone.alphas_cumprod), (1,), generator=draws)
        noise = torch.randn(view.latents.shape, generator=draws)
        optimizer.zero_grad()
        noise_loss(module, view, timestep, noise, backbone).backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"  {step} evaluations, {time.perf_counter() - started:.0f} s: {check_module():.5f}", flush=True)
    target, theirs, their_seconds = check_module(), asked.steps, time.perf_counter() - started

    settings, everything = S2PreST(), torch.ones_like(pixels[:, :1])
    started, views_drawn = time.perf_counter(), torch.Generator().manual_seed(0)
    views = make_views(pixels, everything, settings.fit_views, side // 2, backbone, views_drawn)
    encoding = time.perf_counter() - started
    start = warm_start(settings, seen[:1], backbone)
    loss, steps = check(start), 0
    print(f"ours: {loss:.5f} before", flush=True)
    while loss > target and steps * settings.fit_batch < theirs:
        steps = max(2, 2 * steps)
        short, started = replace(settings, fit_steps=steps, fit_check=steps), time.perf_counter()
        loss = check(optimise(short, start, views, backbone, Silent(), None, "")[0])
        print(f"  {steps * settings.fit_batch} evaluations: {loss:.5f}", flush=True)
    evaluations = steps * settings.fit_batch
    encoding += time.perf_counter() - started
    print(
        f"to reach {target:.5f}: the published recipe {theirs} evaluations at {side} px, {their_seconds:.0f} s; ours "
        f"{evaluations} at {side // 2} px, {encoding:.0f} s with encoding {len(views)} views and checking"
    )


if __name__ == "__main__":
    main()
