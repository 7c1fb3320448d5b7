"""Training a house model's UNet, text encoder and words on, for a time, beside its frozen autoencoder."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from velatura.errors import ModelError, PictureError
from velatura.models.house.backbone import HouseBackbone
from velatura.training.denoiser import Denoiser, check_replaceable, save_house
from velatura.training.denoiser_optimisation import DenoiserOptimisation
from velatura.training.further.held_out import HeldOut
from velatura.training.further.kept_latents import kept_latents
from velatura.training.further.recipe import FurtherRecipe
from velatura.training.further.rows import FurtherRows
from velatura.training.shards import Example, read_shards
from velatura.training.timed import Clock
from velatura.training.training_log import TrainingLog, TrainingRun, process_seed

LATENTS = "latents.safetensors"


def train_further(backbone: HouseBackbone, run: TrainingRun, recipe: FurtherRecipe) -> Path:
    """Train a copy of a model's parts for the recipe's minutes, at least for one step; returns the new model's folder.

    The run's folder gets ``latents.safetensors``, ``log.jsonl``, a checkpoint in parts of at most 16 MiB, and as
    ``house`` the running average that was best on the held-out pictures, with the settings that are recommended for
    the model it started from. Raises PictureError where the shards lack pictures, ModelError where there is nothing to
    resume from, or nothing was gained.
    """
    examples, held_out_examples = _examples(run.shards)
    check_replaceable(run.out / "house")
    pipeline, log = copy.deepcopy(backbone.pipeline), TrainingLog(run.out)
    model = Denoiser(pipeline.unet, pipeline.text_encoder, pipeline.image_encoder).requires_grad_(True)
    training = DenoiserOptimisation(model, pipeline.vae, recipe.denoiser, Accelerator(mixed_precision="bf16"))
    state = log.begin(run.resume, "model")
    step = training.restore(state) if state else 0
    seed = process_seed(recipe.seed, training.accelerator.process_index, step)
    torch.manual_seed(seed)
    source = _source(backbone, examples)
    kept = kept_latents(run.out / LATENTS, examples, training.encoded, source, recipe.seed, run.progress)
    rows = FurtherRows(examples, kept, model.image_encoder, pipeline.tokenizer, recipe, random.Random(seed))
    held_out = HeldOut(training, held_out_examples, rows.sampler)
    if state:
        held_out.restore(state)
    folder = run.out / "house"
    training.prepare(recipe.compiled)
    clock = Clock(recipe.minutes)

    def state_now() -> dict[str, Any]:
        return {**training.state(), "step": step, **held_out.state()}

    with log.kept_when_interrupted(state_now):
        while not clock.over and held_out.without_gain <= recipe.patience:
            drawn = rows.draw(clock.progress, len(training.abars), training.accelerator.device)
            training.step(drawn, recipe.learning_rate_at(step, clock.progress))
            step += 1
            clock.tick()
            if step % recipe.log_steps == 0 or clock.over:
                log.write(step=step, progress=round(clock.progress, 4), loss_by_band=training.losses.take())
            if clock.due("check", recipe.check_minutes):
                log.write(step=step, held_out=held_out.measure())
                if not held_out.without_gain:
                    parts = (model, training.average, pipeline.tokenizer, pipeline.vae)
                    save_house(folder, *parts, backbone.recommended_settings)
            if clock.due("save", recipe.save_minutes):
                log.save(state_now())
    if not folder.is_dir():
        raise ModelError(f"The training has not gained on the held-out pictures: see {run.out / 'log.jsonl'}.")
    return folder


def _examples(shards: Path) -> tuple[list[Example], list[Example]]:
    """Training and held-out pictures. Raises PictureError where there are none of either."""
    examples, held_out = (read_shards(shards, name) for name in ("train", "heldout"))
    if not examples:
        raise PictureError(f"There are no training pictures in {shards}: pack them with 'velatura train-house pack'.")
    if not held_out:
        raise PictureError(f"The shards in {shards} have no held-out pictures: pack them with --heldout, a folder.")
    return examples, held_out


def _source(backbone: HouseBackbone, examples: Sequence[Example]) -> str:
    """A checksum of the model, of whose autoencoder the latents are, and of the pictures."""
    digest = hashlib.sha256(backbone.fingerprint.encode())
    for one in examples:
        digest.update(one.picture)
    return digest.hexdigest()
