"""Training of the house denoiser: UNet, text encoder and the word of a picture, together."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from velatura.errors import ModelError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.image_encoder import HouseImageEncoder, style_part
from velatura.models.house.vocabulary import PROMPT_LENGTH, build_tokenizer
from velatura.models.words import words_inserted
from velatura.progress import Progress
from velatura.training.batches import LARGE, Batch, Batches, batch_stream
from velatura.training.captions import PLACEHOLDER, Description, caption, imagenet_names
from velatura.training.guises import disguising, guise_of
from velatura.training.journal import Journal
from velatura.training.shards import Example, read_shards

BANDS = 10  # of the 1000 timesteps, for the loss log


@dataclass(frozen=True)
class DenoiserRecipe:
    """Settings of the denoiser's training. ``small`` steps see 128 px pictures, ``large`` steps 256 px."""

    small_steps: int = 3000
    large_steps: int = 1500
    small_batch: int = 48
    large_batch: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 200
    decay_share: float = 0.4  # of all steps, at the end, over which the learning rate falls to zero
    average_decay: float = 0.999
    widths: tuple[int, ...] = (64, 160, 288)
    layers_per_block: int = 1
    word_width: int = 192
    text_layers: int = 3
    empty_share: float = 0.2
    word_share: float = 0.75
    style_only_share: float = 0.5  # of the words: the style vector without EfficientNet's features
    guise_share: float = 0.35  # of the pictures with a word: in other colours than the word says
    seed: int = 0
    every: int = 250

    def batch_at(self, step: int) -> tuple[int, int]:
        """Pictures in a step's batch, and their side in pixels."""
        return (self.small_batch, LARGE // 2) if step < self.small_steps else (self.large_batch, LARGE)

    def learning_rate_at(self, step: int) -> float:
        """Warm-up, plateau, linear fall: the plateau can be prolonged by resuming with more steps."""
        total = self.small_steps + self.large_steps
        rising = min(1.0, (step + 1) / self.warmup_steps)
        falling = min(1.0, (total - step) / (self.decay_share * total))
        return self.learning_rate * rising * falling


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with v prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_unet(recipe: DenoiserRecipe, latent_channels: int) -> UNet2DConditionModel:
    """A UNet with cross-attention in all but the finest level and heads about 32 wide."""
    attending = len(recipe.widths) - 1
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers_per_block,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * attending,
        up_block_types=("CrossAttnUpBlock2D",) * attending + ("UpBlock2D",),
        attention_head_dim=tuple(max(1, width // 32) for width in recipe.widths),
        cross_attention_dim=recipe.word_width,
    )


def make_text_encoder(recipe: DenoiserRecipe, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text transformer, small."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.word_width,
            intermediate_size=4 * recipe.word_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=recipe.word_width // 32,
            max_position_embeddings=PROMPT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


class Denoiser(nn.Module):
    """What is trained together, called as one module so that several GPUs can share it."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, image_encoder: HouseImageEncoder):
        super().__init__()
        self.unet, self.text_encoder, self.image_encoder = unet, text_encoder, image_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor, at: Tensor, embeddings: Tensor) -> Tensor:
        """v predictions; ``at`` marks the placeholder in ``ids``, ``embeddings`` (B, 1380) say its word."""
        words = self.image_encoder(embeddings)[:, None]
        with words_inserted(self.text_encoder, at, words):
            states = self.text_encoder(ids).last_hidden_state
        predicted: Tensor = self.unet(noisy, timesteps, states).sample
        return predicted


def vocabulary_texts(examples: Sequence[Example]) -> list[str]:
    """Captions of the training pictures and ImageNet's class names, for the tokenizer to learn from."""
    chance = random.Random(0)
    return [caption(example.description, True, chance) for example in examples] + imagenet_names()


@dataclass
class _Conditions:
    """Draws captions and words for training pictures."""

    recipe: DenoiserRecipe
    tokenizer: CLIPTokenizer
    chance: random.Random

    def text(self, description: Description) -> str:
        if self.chance.random() < self.recipe.empty_share:
            return ""
        return caption(description, self.chance.random() < self.recipe.word_share, self.chance)

    def tokens(self, descriptions: Sequence[Description]) -> Tensor:
        texts = [self.text(description) for description in descriptions]
        return tokenize(self.tokenizer, texts)

    def guised(self, at: Tensor) -> Tensor:
        """Which pictures (B,) come in a guise: some of those whose caption has a word, ``at`` (B, L)."""
        chosen = torch.tensor([self.chance.random() < self.recipe.guise_share for _ in at])
        return at.any(1) & chosen.to(at.device)

    def thinned(self, embeddings: Tensor) -> Tensor:
        """Some of the embeddings (B, 1380) with only their style part."""
        style_only = torch.tensor([self.chance.random() < self.recipe.style_only_share for _ in embeddings])
        return torch.where(style_only.to(embeddings.device)[:, None], style_part(embeddings), embeddings)


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids (B, L) padded to the tokenizer's length."""
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


def house_pipeline(model: Denoiser, tokenizer: CLIPTokenizer, vae: HouseAutoencoder) -> Any:
    """The parts as one diffusers pipeline."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=model.image_encoder,
        requires_safety_checker=False,
    )


def save_house(out: Path, model: Denoiser, average: EMAModel, tokenizer: CLIPTokenizer, vae: HouseAutoencoder) -> None:
    """Write the averaged model as a diffusers folder, fp16, in files of at most 15 MB."""
    average.store(model.parameters())
    average.copy_to(model.parameters())
    # A copy is halved, never the model: changing a parameter's format drops the hooks that share its gradients.
    averaged, autoencoder = copy.deepcopy(model).half(), copy.deepcopy(vae).half()
    average.restore(model.parameters())
    house_pipeline(averaged, tokenizer, autoencoder).save_pretrained(out, max_shard_size="15MB")


def train_denoiser(
    shards: Path,
    out: Path,
    vae: HouseAutoencoder,
    recipe: DenoiserRecipe,
    resume: bool,
    progress: Progress,
) -> None:
    """Train on ``shards`` with the frozen ``vae``; log and checkpoint in ``out``, save to ``out/house``."""
    accelerator = Accelerator(mixed_precision="bf16")
    device = accelerator.device
    torch.manual_seed(recipe.seed)
    examples = read_shards(shards, "train")
    batches = Batches(examples, recipe.seed)
    tokenizer = _tokenizer(out / "tokenizer", examples, resume, accelerator)
    placeholder = tokenizer.convert_tokens_to_ids(f"{PLACEHOLDER}</w>")

    image_encoder = HouseImageEncoder(recipe.word_width)
    own = torch.stack([example.embedding for example in examples if example.description.kind != "painted"])
    image_encoder.mean.copy_(own.mean(0))
    image_encoder.std.copy_(own.std(0).clamp(min=1e-4))
    embeddings = image_encoder.standardise(batches.embeddings).to(device)

    model = Denoiser(make_unet(recipe, vae.config.latent_channels), make_text_encoder(recipe, tokenizer), image_encoder)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    vae = vae.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
    average = EMAModel(model.parameters(), decay=recipe.average_decay, use_ema_warmup=True, power=3 / 4)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2, betas=(0.9, 0.99), fused=True
    )
    journal, first = Journal(out), 0
    if resume:
        state = journal.load()
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        average.to(device)
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    # Each process and each resumption draws its own pictures, captions and noise.
    own_seed = (recipe.seed * 101 + accelerator.process_index) * 100_003 + first
    torch.manual_seed(own_seed)
    conditions = _Conditions(recipe, tokenizer, random.Random(own_seed))
    trained, optimizer = accelerator.prepare(model, optimizer)
    scheduler = make_scheduler()
    losses_by_band = _Bands(scheduler.config.num_train_timesteps)
    streams: dict[int, Iterator[Batch]] = {}
    abars = scheduler.alphas_cumprod.to(device)

    total = recipe.small_steps + recipe.large_steps
    for step in progress.track(range(first, total), "denoiser"):
        count, side = recipe.batch_at(step)
        if side not in streams:
            streams = {side: batch_stream(batches, count, side, own_seed, device)}
        batch = next(streams[side])
        ids = conditions.tokens([batches.descriptions[index] for index in batch.indices]).to(device)
        at = ids == placeholder
        seen = conditions.thinned(embeddings[torch.tensor(batch.indices, device=device)])
        guised = conditions.guised(at)
        strange = [guise_of(batch, number) for number in guised.nonzero().flatten().tolist()]
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        with accelerator.autocast():
            with torch.no_grad():
                latents = _encoded(vae, batch.pixels)
                guise = latents.clone()
                if strange:
                    guise[guised] = _encoded(vae, torch.cat(strange))
            timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (count,), device=device)
            noise = disguising(torch.randn_like(latents), latents, guise, abars[timesteps])
            noisy = scheduler.add_noise(latents, noise, timesteps)
            predicted = trained(noisy, timesteps, ids, at, seen)
        wanted = scheduler.get_velocity(latents, noise, timesteps)
        losses = (predicted.float() - wanted).square().flatten(1).mean(1)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(losses.mean())
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())

        losses_by_band.add(timesteps, losses)
        done = step + 1
        if (done % recipe.every == 0 or done == total) and accelerator.is_main_process:
            by_band = losses_by_band.take()
            progress.note(loss=sum(by_band) / BANDS)
            journal.write(step=done, side=side, loss_by_band=by_band, learning_rate=recipe.learning_rate_at(step))
            journal.save(_state(model, average, optimizer, done))
            save_house(out / "house", model, average, tokenizer, vae)


def _encoded(vae: HouseAutoencoder, pixels: Tensor) -> Tensor:
    """Latents as the denoiser sees them."""
    moved = pixels.to(vae.device, memory_format=torch.channels_last)
    latents: Tensor = vae.encode(moved).latent_dist.mode().float() * vae.config.scaling_factor
    return latents


def _tokenizer(folder: Path, examples: Sequence[Example], resume: bool, accelerator: Accelerator) -> CLIPTokenizer:
    """The run's tokenizer, built once by one process: equally frequent pairs may come in another order next time."""
    if resume and not folder.is_dir():
        raise ModelError(f"There is no tokenizer in {folder.parent} to resume with: start without --resume.")
    if accelerator.is_main_process and not resume:
        build_tokenizer(vocabulary_texts(examples)).save_pretrained(folder)
    accelerator.wait_for_everyone()
    return CLIPTokenizer.from_pretrained(folder)


class _Bands:
    """Means of losses in ten bands of timesteps, kept on the device until they are asked for."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.seen: list[tuple[Tensor, Tensor]] = []

    def add(self, timesteps: Tensor, losses: Tensor) -> None:
        self.seen.append((timesteps, losses.detach()))

    def take(self) -> list[float]:
        """The means since the last call; 0 for a band that nothing fell into."""
        timesteps, losses = (torch.cat(parts).cpu() for parts in zip(*self.seen, strict=True))
        self.seen = []
        bands = timesteps * BANDS // self.timesteps
        means = [losses[bands == band].mean().item() if (bands == band).any() else 0.0 for band in range(BANDS)]
        return [round(mean, 4) for mean in means]


def _state(model: Denoiser, average: EMAModel, optimizer: Any, step: int) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
