"""Training of the stroke network: it paints over what the fast UNet painted (decision 23)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from velatura.methods.fast_painting import painter_of
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import STROKES_FILE, save_stroke_network
from velatura.training.fast.pictures import Pictures
from velatura.training.strokes.optimisation import StrokesOptimisation
from velatura.training.strokes.pool import PaintedPool, joined, painter
from velatura.training.strokes.recipe import StrokesRecipe
from velatura.training.timed import Clock
from velatura.training.training_log import TrainingLog, process_seed


def train_strokes(
    backbone: HouseBackbone,
    pictures: tuple[Sequence[Path], Sequence[Path]],
    out: Path,
    recipe: StrokesRecipe,
    resume: bool,
) -> Path:
    """Train the stroke network of ``backbone`` on (photos, paintings) for the recipe's minutes, at least for one step.

    ``out`` gets ``log.jsonl``, ``checkpoint.json`` with its parts, and the running average as
    ``fast_strokes.safetensors``, whose path is returned. Raises ModelError where the model has no fast adapter, there
    is nothing to resume from, or a run would be replaced.
    """
    painter_of(backbone)
    optimisation, log = StrokesOptimisation(backbone, recipe), TrainingLog(out)
    state = log.begin(resume, "strokes")
    step = optimisation.restore(state) if state else 0
    held_out = _pool(backbone, pictures, optimisation, recipe.seed, recipe.held_out).kept
    seed = process_seed(recipe.seed, 1, step)
    chance = random.Random(seed)
    pool = _pool(backbone, pictures, optimisation, seed, recipe.first_pictures)
    batches = [joined(held_out[first : first + recipe.rows]) for first in range(0, len(held_out), recipe.rows)]
    clock = Clock(recipe.minutes)
    while not clock.over:
        if step % recipe.renewal == 0:
            pool.renew(recipe.pool)
        optimisation.step(pool.draw(recipe.rows, chance), recipe.learning_rate_at(step, clock.progress))
        step += 1
        clock.tick()
        if step % recipe.log_steps == 0 or clock.over:
            log.write(step=step, progress=round(clock.progress, 4), pool=len(pool.kept), **optimisation.take())
        if step % recipe.check_steps == 0 or clock.over:
            log.write(step=step, **optimisation.check(batches))
        if clock.due("save", recipe.save_minutes):
            log.save(optimisation.state())
    save_stroke_network(out / STROKES_FILE, optimisation.average.state_dict())
    return out / STROKES_FILE


def _pool(
    backbone: HouseBackbone,
    pictures: tuple[Sequence[Path], Sequence[Path]],
    optimisation: StrokesOptimisation,
    seed: int,
    count: int,
) -> PaintedPool:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    photos, paintings = (Pictures(paths, chance) for paths in pictures)
    return PaintedPool(painter(backbone, (photos, paintings), optimisation.losses.measured, chance), count)
