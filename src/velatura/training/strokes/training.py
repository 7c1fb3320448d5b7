"""Training of the stroke network: it paints over what the fast UNet painted (decision 23)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import torch

from velatura.methods.fast_painting import painter_of
from velatura.methods.strokes.pictures import Painted, joined
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import STROKES_FILE, save_stroke_network
from velatura.progress import Progress
from velatura.training.fast.pictures import Pictures
from velatura.training.pack import check_pictures
from velatura.training.strokes.optimisation import StrokesOptimisation
from velatura.training.strokes.pool import PaintedPool, Sources, kept_apart, painter
from velatura.training.strokes.recipe import StrokesRecipe
from velatura.training.timed import Clock
from velatura.training.training_log import TrainingLog, process_seed


def train_strokes(
    backbone: HouseBackbone,
    pictures: Sources,
    out: Path,
    recipe: StrokesRecipe,
    resume: bool,
    progress: Progress,
) -> Path:
    """Train the stroke network of ``backbone`` on (photos, paintings) for the recipe's minutes, at least for one step.

    ``out`` gets ``log.jsonl``, ``checkpoint.json`` with its parts, and the running average as
    ``fast_strokes.safetensors``, whose path is returned. One of twenty pictures is never trained on: of these are the
    held-out losses. Raises ModelError where the model has no fast adapter, there is nothing to resume from, or a run
    would be replaced, PictureError for too few pictures and for a file that is none.
    """
    painter_of(backbone)
    optimisation, log = StrokesOptimisation(backbone, recipe), TrainingLog(out)
    state = log.begin(resume, "strokes")
    step = optimisation.restore(state) if state else 0
    check_pictures([*pictures[0], *pictures[1]], progress)
    trained_on, checked_with = kept_apart(pictures)
    checking = _painter(backbone, checked_with, optimisation, recipe.seed)
    held_out = [checking() for _ in progress.track(range(recipe.held_out), "held-out pictures")]
    seed = process_seed(recipe.seed, 1, step)
    chance, make = random.Random(seed), _painter(backbone, trained_on, optimisation, seed)
    pool = PaintedPool(make, [make() for _ in progress.track(range(recipe.first_pictures), "first pictures")])
    batches = [joined(held_out[first : first + recipe.rows]) for first in range(0, len(held_out), recipe.rows)]
    clock = Clock(recipe.minutes)
    with log.kept_when_interrupted(optimisation.state):
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


def _painter(
    backbone: HouseBackbone, sources: Sources, optimisation: StrokesOptimisation, seed: int
) -> Callable[[], Painted]:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    photos, paintings = (Pictures(paths, chance) for paths in sources)
    return painter(backbone, (photos, paintings), optimisation.optimiser.losses.measured, chance)
