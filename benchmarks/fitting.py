"""Fitting a style's word: InST's recipe against ours, on the same frozen model and the same check.

python benchmarks/fitting.py PICTURE [--steps 400] prints UNet evaluations and seconds until ours reaches the loss that
the published recipe ends with. The check is the published one's own picture (whole, squashed, and mirrored) at fixed
timesteps and noises, so that neither is measured on what only it has seen.

--random-sd builds Stable Diffusion 1.x's UNet, VAE and text encoder and CLIP's ViT-L/14 at their real sizes with random
weights (the words are the house tokenizer's), working at 256 px so that two cores can.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.fitting import Views, make_views, noise_loss, optimise, pace, spread_timesteps, warm_start
from velatura.models.latent import LatentBackbone
from velatura.models.loading import load_latent_backbone
from velatura.picture import image_to_pixels, open_picture
from velatura.progress import Silent

HEADS, HEAD_WIDTH, DROPOUT, RATE = 8, 64, 0.05, 1e-4


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


def random_stable_diffusion() -> LatentBackbone:
    """The real shape of Stable Diffusion 1.x, seeded random weights in place of the trained ones."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    blocks = (128, 256, 512, 512)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=blocks,
        layers_per_block=2,
    )
    eyes = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=768,
        )
    ).eval()
    parts = SimpleNamespace(
        unet=UNet2DConditionModel(sample_size=32, cross_attention_dim=768),  # diffusers' defaults are SD 1.x's
        vae=vae,
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
            )
        ),
        tokenizer=load_latent_backbone("house").tokenizer,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    )

    def see(pixels: Tensor) -> Tensor:
        embedding: Tensor = eyes(F.interpolate(pixels, (224, 224), mode="bicubic", antialias=True)).image_embeds
        return F.normalize(embedding)

    return LatentBackbone(parts, "random-sd", torch.device("cpu"), torch.float32, see)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="house")
    parser.add_argument("--random-sd", action="store_true")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--apart", type=int, default=50, help="evaluations between the lengths of ours that are tried")
    parser.add_argument("--checked", type=int, default=32, help="noised views that the loss is checked on")
    asked = parser.parse_args()
    backbone = random_stable_diffusion() if asked.random_sd else load_latent_backbone(asked.model, dtype="fp32")
    side = backbone.native_size
    pixels = image_to_pixels(open_picture(asked.picture).image, (side, side)).to(backbone.device)
    both = torch.cat([pixels, pixels.flip(-1)])
    with torch.no_grad():
        seen = torch.cat([backbone.see(view[None]) for view in both])
        latents = backbone.encode(both)
    whole = Views(latents, seen, torch.ones_like(latents[:, :1]))
    fixed = torch.Generator().manual_seed(1)
    checked = whole.at(torch.arange(asked.checked) % 2)
    times = spread_timesteps(asked.checked, len(backbone.alphas_cumprod), fixed)
    noises = torch.randn(checked.latents.shape, generator=fixed)

    def check(word_map: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            parts = [slice(first, first + 8) for first in range(0, asked.checked, 8)]
            return sum(
                noise_loss(word_map, checked.at(torch.arange(asked.checked)[p]), times[p], noises[p], backbone).item()
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
        if step % asked.every == 0:
            print(f"  {step} evaluations, {time.perf_counter() - started:.0f} s: {check_module():.5f}", flush=True)
    target, theirs, their_seconds = check_module(), asked.steps, time.perf_counter() - started

    settings, everything = S2PreST(), torch.ones_like(pixels[:, :1])
    started, views_drawn = time.perf_counter(), torch.Generator().manual_seed(0)
    start = warm_start(settings, seen[:1], backbone)
    _, batch, view_side = pace(settings, start, side)
    views = make_views(pixels, everything, settings.fit_views, view_side, backbone, views_drawn)
    encoding = time.perf_counter() - started
    loss, steps = check(start), 0
    print(f"ours: {loss:.5f} before", flush=True)
    while loss > target and steps * batch < theirs:
        steps += max(1, asked.apart // batch)
        short, started = replace(settings, fit_steps=steps, fit_check=steps), time.perf_counter()
        loss = check(optimise(short, start, views, backbone, Silent(), None, "")[0])
        print(f"  {steps * batch} evaluations: {loss:.5f}", flush=True)
    evaluations = steps * batch
    encoding += time.perf_counter() - started
    print(
        f"to reach {target:.5f}: the published recipe {theirs} evaluations at {side} px, {their_seconds:.0f} s; ours "
        f"{evaluations} at {view_side} px, {encoding:.0f} s with encoding {len(views)} views and checking"
    )


if __name__ == "__main__":
    main()
