"""Fitting a style's word: InST's recipe against ours, on the same frozen model and the same check.

python benchmarks/fitting.py PICTURE [--steps 400] prints UNet evaluations and seconds until ours reaches the loss that
the published recipe ends with. The check is the published one's own picture (whole, squashed, and mirrored) at fixed
timesteps and noises, so that neither is measured on examples that only it was trained on.

--random-sd builds Stable Diffusion 1.x's UNet, VAE and text encoder and CLIP's ViT-L/14 at their real sizes with random
weights (the words are the house tokenizer's), working at 256 px so that two cores can.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.methods.context import RunContext
from velatura.methods.resumable_fit import FitCheckpoint, resumable_fit
from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.conditioned import WordConditioned, word_conditioned
from velatura.methods.s2prest.fitting import NoisedViews, WordFit, noise_loss, pace, spread_timesteps, warm_start
from velatura.methods.s2prest.views import Views, make_views
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.picture import image_to_pixels, open_picture
from velatura.progress import Silent

HEADS, HEAD_WIDTH, DROPOUT, RATE = 8, 64, 0.05, 1e-4


class PublishedModule(nn.Module):
    """InST's module A on one token, where both softmaxes are 1: attn1 reaches nothing and is left out."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(embedding, HEADS * HEAD_WIDTH, bias=False)
        self.out = nn.Linear(HEADS * HEAD_WIDTH, embedding)
        self.projection = nn.Linear(embedding, width)

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
    clip = CLIPVisionModelWithProjection(
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
        tokenizer=load_backbone("house").tokenizer,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    )

    def encode_image(pixels: Tensor) -> Tensor:
        embedding: Tensor = clip(F.interpolate(pixels, (224, 224), mode="bicubic", antialias=True)).image_embeds
        return F.normalize(embedding)

    return LatentBackbone(parts, "random-sd", torch.device("cpu"), torch.float32, encode_image)


@dataclass(frozen=True)
class Check:
    """The loss of a word map on the whole picture and its mirror, noised alike for everybody."""

    whole: Views
    count: int
    backbone: WordConditioned

    def __call__(self, word_map: Callable[[Tensor], Tensor]) -> float:
        fixed = torch.Generator().manual_seed(1)
        checked = self.whole.at(torch.arange(self.count) % 2)
        times = spread_timesteps(self.count, len(self.backbone.schedule), fixed)
        noises = torch.randn(checked.latents.shape, generator=fixed)
        parts = torch.arange(self.count).split(8)
        examples = [NoisedViews(checked.at(part), times[part], noises[part]) for part in parts]
        with torch.no_grad():
            return sum(noise_loss(word_map, part, self.backbone).item() for part in examples) / len(parts)


def fit_published(check: Check, steps: int, every: int) -> tuple[float, float]:
    """InST's recipe; the loss that it ends with, and its seconds."""
    whole, backbone = check.whole, check.backbone
    torch.manual_seed(0)
    module = PublishedModule(whole.embeddings.shape[1], backbone.word_width())
    # CLIP's embeddings have length 1: the house model's are brought to it, so that the published rates mean the same.
    unit = Views(whole.latents, F.normalize(whole.embeddings), whole.weights)
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.01)

    def loss() -> float:
        module.eval()
        found = check(lambda embeddings: module(F.normalize(embeddings)))
        module.train()
        return found

    print(f"the published recipe: {loss():.5f} before", flush=True)
    started, draws = time.perf_counter(), torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        view = unit.at(torch.randint(2, (1,), generator=draws))
        timestep = torch.randint(len(backbone.schedule), (1,), generator=draws)
        noise = torch.randn(view.latents.shape, generator=draws)
        optimizer.zero_grad()
        noise_loss(module, NoisedViews(view, timestep, noise), backbone).backward()
        optimizer.step()
        if step % every == 0:
            print(f"  {step} evaluations, {time.perf_counter() - started:.0f} s: {loss():.5f}", flush=True)
    return loss(), time.perf_counter() - started


def fit_ours(check: Check, pixels: Tensor, target: float, most: int, apart: int) -> str:
    """Fits of rising length until one reaches the ``target``, at ``most`` evaluations; what that took, in words."""
    settings, backbone = S2PreST(), check.backbone
    started, views_drawn = time.perf_counter(), torch.Generator().manual_seed(0)
    start = warm_start(settings, check.whole.embeddings[:1], backbone)
    chosen = pace(settings, start, backbone.native_size)
    everything = torch.ones_like(pixels[:, :1])
    views = make_views(pixels, everything, settings.fit_views, chosen.side, backbone, views_drawn)
    encoding = time.perf_counter() - started
    loss, steps = check(start), 0
    print(f"ours: {loss:.5f} before", flush=True)
    while loss > target and steps * chosen.batch < most:
        steps += max(1, apart // chosen.batch)
        short, started = replace(settings, fit_steps=steps, fit_check=steps), time.perf_counter()
        fit = WordFit(short, start, views, backbone)
        resumable_fit(fit, steps, steps, FitCheckpoint(None, ""), Silent())
        loss = check(fit.best)
        print(f"  {steps * chosen.batch} evaluations: {loss:.5f}", flush=True)
    seconds = encoding + time.perf_counter() - started
    found = f"ours {steps * chosen.batch} at {chosen.side} px, {seconds:.0f} s"
    return f"{found} with encoding {len(views)} views and checking"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="house")
    parser.add_argument("--random-sd", action="store_true")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--apart", type=int, default=50, help="evaluations between the lengths of ours that are tried")
    parser.add_argument("--checked", type=int, default=32, help="noised views that the loss is checked on")
    options = parser.parse_args()
    loaded = random_stable_diffusion() if options.random_sd else load_backbone(options.model, dtype="fp32")
    backbone = word_conditioned(RunContext(loaded), S2PreST.name).backbone
    side = backbone.native_size
    pixels = image_to_pixels(open_picture(options.picture).image, (side, side)).to(backbone.device)
    both = torch.cat([pixels, pixels.flip(-1)])
    with torch.no_grad():
        embeddings = torch.cat([backbone.encode_image(view[None]) for view in both])
        latents = backbone.encode(both)
    check = Check(Views(latents, embeddings, torch.ones_like(latents[:, :1])), options.checked, backbone)
    target, seconds = fit_published(check, options.steps, options.every)
    ours = fit_ours(check, pixels, target, options.steps, options.apart)
    published = f"the published recipe {options.steps} evaluations at {side} px, {seconds:.0f} s"
    print(f"to reach {target:.5f}: {published}; {ours}")


if __name__ == "__main__":
    main()
