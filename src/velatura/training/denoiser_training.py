"""Training of the house denoiser: UNet, text encoder and the words of pictures, together."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from statistics import fmean

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import CLIPTokenizer

from velatura.errors import ModelError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.models.house.vocabulary import build_tokenizer
from velatura.training.batches import Batch, Batches, batch_stream
from velatura.training.captions import caption, imagenet_names
from velatura.training.conditioning import ConditioningSampler
from velatura.training.denoiser import (
    Denoiser,
    DenoiserRecipe,
    check_replaceable,
    make_text_encoder,
    make_unet,
    save_house,
)
from velatura.training.denoiser_optimisation import DenoiserOptimisation, DenoiserRows
from velatura.training.recolouring import recoloured
from velatura.training.shards import Example, read_shards
from velatura.training.training_log import TrainingLog, TrainingRun, process_seed


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
    training = DenoiserOptimisation(model, vae, recipe, accelerator)
    log = TrainingLog(run.out)
    check_replaceable(run.out / "house")
    state = log.begin(run.resume, "model")
    first = training.restore(state) if state else 0
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
        latents = training.encoded(batch.pixels)
        timesteps = torch.randint(0, len(training.abars), (len(latents),), device=device)
        shown = _shown(batch, latents, conditions.recoloured, training)
        training.step(DenoiserRows(latents, shown, timesteps, conditions), recipe.learning_rate_at(step))
        done = step + 1
        if (done % recipe.every and done != recipe.steps) or not accelerator.is_main_process:
            continue
        by_band = training.losses.take()
        run.progress.note(loss=fmean(loss for loss in by_band if loss is not None))
        log.write(step=done, side=side, loss_by_band=by_band, learning_rate=recipe.learning_rate_at(step))
        log.save({**training.state(), "step": done})
        save_house(run.out / "house", model, training.average, tokenizer, vae, {})


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


def _shown(batch: Batch, latents: Tensor, chosen: Tensor, training: DenoiserOptimisation) -> Tensor:
    """A batch's latents (B, C, h, w), those ``chosen`` (B,) in other colours."""
    numbers = chosen.nonzero().flatten().tolist()
    if not numbers:
        return latents
    return latents.index_put((chosen,), training.encoded(torch.cat([recoloured(batch, number) for number in numbers])))
