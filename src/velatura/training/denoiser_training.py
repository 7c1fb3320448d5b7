"""Training of the house denoiser: UNet, text encoder and the words of pictures, together."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor
from transformers import CLIPTokenizer

from velatura.errors import ModelError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.models.house.vocabulary import build_tokenizer
from velatura.training.batches import Batch, Batches, batch_stream
from velatura.training.captions import caption, imagenet_names
from velatura.training.conditioning import ConditioningSampler, Conditions
from velatura.training.denoiser import (
    Denoiser,
    DenoiserRecipe,
    make_scheduler,
    make_text_encoder,
    make_unet,
    save_house,
)
from velatura.training.recolouring import recoloured, recolouring_noise
from velatura.training.shards import Example, read_shards
from velatura.training.training_log import TrainingLog, TrainingRun, process_seed

BANDS = 10  # of the 1000 timesteps, for the loss log


def train_denoiser(vae: HouseAutoencoder, run: TrainingRun, recipe: DenoiserRecipe) -> None:
    """Train a denoiser of the latents of a frozen ``vae``; the model is saved in ``house`` of the run's folder.

    Raises ModelError where there is nothing to resume from.
    """
    accelerator = Accelerator(mixed_precision="bf16")
    device = accelerator.device
    torch.manual_seed(recipe.seed)
    examples = read_shards(run.shards, "train")
    batches = Batches(examples, recipe.seed)
    tokenizer = _tokenizer(run, examples, accelerator)
    image_encoder = _image_encoder(examples, recipe.word_width)
    embeddings = image_encoder.standardise(batches.embeddings).to(device)
    model = Denoiser(make_unet(recipe, vae.config.latent_channels), make_text_encoder(recipe, tokenizer), image_encoder)
    training = _Training(model, vae, recipe, accelerator)
    log = TrainingLog(run.out)
    first = training.restore(log.load()) if run.resume else 0
    seed = process_seed(recipe.seed, accelerator.process_index, first)
    torch.manual_seed(seed)
    sampler = ConditioningSampler(recipe, tokenizer, random.Random(seed))
    training.prepare()
    streams: dict[int, Iterator[Batch]] = {}
    for step in run.progress.track(range(first, recipe.steps), "denoiser"):
        count, side = recipe.batch_at(step)
        if side not in streams:
            streams = {side: batch_stream(batches, count, side, seed, device)}
        batch = next(streams[side])
        descriptions = [batches.descriptions[index] for index in batch.indices]
        conditions = sampler.draw(descriptions, embeddings[torch.tensor(batch.indices, device=device)])
        training.step(batch, conditions, recipe.learning_rate_at(step))
        done = step + 1
        if (done % recipe.every and done != recipe.steps) or not accelerator.is_main_process:
            continue
        by_band = training.losses.take()
        run.progress.note(loss=sum(by_band) / BANDS)
        log.write(step=done, side=side, loss_by_band=by_band, learning_rate=recipe.learning_rate_at(step))
        log.save({**training.state(), "step": done})
        save_house(run.out / "house", model, training.average, tokenizer, vae)


def _image_encoder(examples: Sequence[Example], word_width: int) -> HouseImageEncoder:
    """An image encoder that standardises over the examples; painted-over photos share their style's embedding and do
    not count.
    """
    image_encoder: HouseImageEncoder = HouseImageEncoder(word_width)
    own = torch.stack([example.embedding for example in examples if example.description.kind != "painted"])
    image_encoder.mean.copy_(own.mean(0))
    image_encoder.std.copy_(own.std(0).clamp(min=1e-4))
    return image_encoder


def vocabulary_texts(examples: Sequence[Example]) -> list[str]:
    """Captions of the training pictures and ImageNet's class names, for the tokenizer to learn from."""
    chance = random.Random(0)
    return [caption(example.description, True, chance) for example in examples] + imagenet_names()


def _tokenizer(run: TrainingRun, examples: Sequence[Example], accelerator: Accelerator) -> CLIPTokenizer:
    """The run's tokenizer, built once by one process: equally frequent pairs may come in another order next time."""
    folder = run.out / "tokenizer"
    if run.resume and not folder.is_dir():
        raise ModelError(f"There is no tokenizer in {run.out} to resume with: start without --resume.")
    if accelerator.is_main_process and not run.resume:
        build_tokenizer(vocabulary_texts(examples)).save_pretrained(folder)
    accelerator.wait_for_everyone()
    return CLIPTokenizer.from_pretrained(folder)


class _Training:
    """The optimisation of a denoiser, on the accelerator's device, with a running average of its weights."""

    def __init__(
        self, model: Denoiser, vae: HouseAutoencoder, recipe: DenoiserRecipe, accelerator: Accelerator
    ) -> None:
        self.accelerator, self.model = accelerator, model
        self.trained: Any = model
        model.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.vae = vae.to(accelerator.device, memory_format=torch.channels_last).requires_grad_(False).eval()
        self.average = EMAModel(model.parameters(), decay=recipe.average_decay, use_ema_warmup=True, power=3 / 4)
        self.optimizer: Any = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2, betas=(0.9, 0.99), fused=True
        )
        self.scheduler = make_scheduler()
        self.abars = self.scheduler.alphas_cumprod.to(accelerator.device)
        self.losses = _LossByBand(len(self.abars))

    def restore(self, state: dict[str, Any]) -> int:
        """Take up a checkpoint; returns the steps that are done."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.average.to(self.accelerator.device)
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def prepare(self) -> None:
        """Hand model and optimiser to the accelerator."""
        self.trained, self.optimizer = self.accelerator.prepare(self.trained, self.optimizer)

    def step(self, batch: Batch, conditions: Conditions, learning_rate: float) -> None:
        """One optimiser step on a batch under its conditions; mean squared error of v."""
        shown = [recoloured(batch, number) for number in conditions.recoloured.nonzero().flatten().tolist()]
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with self.accelerator.autocast():
            with torch.no_grad():
                latents = self._latents(batch.pixels)
                other = latents.clone()
                if shown:
                    other[conditions.recoloured] = self._latents(torch.cat(shown))
            timesteps = torch.randint(0, len(self.abars), (len(latents),), device=latents.device)
            noise = recolouring_noise(torch.randn_like(latents), latents, other, self.abars[timesteps])
            noisy = self.scheduler.add_noise(latents, noise, timesteps)
            predicted = self.trained(noisy, timesteps, conditions.ids, conditions.at, conditions.embeddings)
        target = self.scheduler.get_velocity(latents, noise, timesteps)
        losses = (predicted.float() - target).square().flatten(1).mean(1)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(losses.mean())
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.step(self.model.parameters())
        self.losses.add(timesteps, losses)

    def _latents(self, pixels: Tensor) -> Tensor:
        """Scaled latents (B, 8, H/8, W/8)."""
        moved = pixels.to(self.vae.device, memory_format=torch.channels_last)
        latents: Tensor = self.vae.encode(moved).latent_dist.mode().float() * self.vae.config.scaling_factor
        return latents

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, without the steps."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }


class _LossByBand:
    """Means of losses in ten bands of timesteps, kept on the device until they are asked for."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, timesteps: Tensor, losses: Tensor) -> None:
        """Keep losses (B,) at ``timesteps`` (B,)."""
        self.kept.append((timesteps, losses.detach()))

    def take(self) -> list[float]:
        """The means since the last call; 0 for a band without losses."""
        timesteps, losses = (torch.cat(parts).cpu() for parts in zip(*self.kept, strict=True))
        self.kept = []
        bands = timesteps * BANDS // self.timesteps
        means = [losses[bands == band].mean().item() if (bands == band).any() else 0.0 for band in range(BANDS)]
        return [round(mean, 4) for mean in means]
