"""Training of the fast adapter by amortised guidance: guided's kind of losses on the student's own x0 estimates."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_painter import ADAPTER_FILE, save_adapter
from velatura.training.fast.batches import FastBatches
from velatura.training.fast.optimisation import FastOptimisation
from velatura.training.fast.pictures import Pictures
from velatura.training.fast.recipe import FastRecipe
from velatura.training.fast.style_targets import StyleTargets
from velatura.training.training_log import TrainingLog, process_seed


def train_fast(
    backbone: HouseBackbone,
    pictures: tuple[Sequence[Path], Sequence[Path]],
    out: Path,
    recipe: FastRecipe,
    resume: bool,
) -> Path:
    """Train an adapter of ``backbone`` on (photos, paintings) for the recipe's minutes, at least for one step.

    ``out`` gets ``log.jsonl``, ``checkpoint.json`` with its parts, and the running average as
    ``fast_adapter.safetensors``, whose path is returned. Raises ModelError where there is nothing to resume from.
    """
    torch.manual_seed(recipe.seed)
    optimisation, log = FastOptimisation(backbone, recipe), TrainingLog(out)
    step = optimisation.restore(log.load()) if resume else 0
    seed = process_seed(recipe.seed, 0, step)
    torch.manual_seed(seed)
    batches = _batches(optimisation, pictures, random.Random(seed))
    started = saved = time.monotonic()
    share = 0.0
    while share < 1:
        optimisation.step(batches.draw(recipe.rows), recipe.learning_rate_at(step, share))
        step, now = step + 1, time.monotonic()
        share = min(1.0, (now - started) / (60 * recipe.minutes)) if recipe.minutes else 1.0
        if step % recipe.log_steps == 0 or share == 1:
            log.write(step=step, progress=round(share, 4), **optimisation.take())
        if now - saved > 60 * recipe.save_minutes or share == 1:
            log.save({**optimisation.state(), "step": step})
            saved = now
    save_adapter(out / ADAPTER_FILE, optimisation.average, backbone.fingerprint)
    return out / ADAPTER_FILE


def _batches(
    optimisation: FastOptimisation, pictures: tuple[Sequence[Path], Sequence[Path]], chance: random.Random
) -> FastBatches:
    recipe = optimisation.recipe
    photos, paintings = pictures
    # The same paintings whenever a training is resumed.
    kept = random.Random(recipe.seed).sample(list(paintings), min(recipe.paintings, len(paintings)))
    targets = StyleTargets(optimisation.backbone, optimisation.trunk)
    return FastBatches(Pictures(photos, chance), Pictures(kept, chance), targets, recipe, chance)
