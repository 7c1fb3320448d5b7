"""Training of the fast adapter: it follows what a teacher painted, from its own noisy latents (decision 18)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_adapter import of_rank
from velatura.models.house.fast_painter import ADAPTER_FILE, save_adapter
from velatura.training.fast.optimisation import FastOptimisation
from velatura.training.fast.pairs import PairBatches
from velatura.training.fast.recipe import FastRecipe
from velatura.training.timed import Clock
from velatura.training.training_log import TrainingLog, process_seed


def train_fast(backbone: HouseBackbone, folders: Sequence[Path], out: Path, recipe: FastRecipe, resume: bool) -> Path:
    """Train an adapter of ``backbone``, from its own where it has one, on the pairs in ``folders`` for the recipe's
    minutes, at least for one step.

    ``out`` gets ``log.jsonl``, ``checkpoint.json`` with its parts, and the running average as
    ``fast_adapter.safetensors``, whose path is returned. Raises ModelError where there are no pairs, nothing to
    resume from, or a run that would be replaced.
    """
    torch.manual_seed(recipe.seed)
    optimisation, log = FastOptimisation(backbone, recipe), TrainingLog(out)
    state = log.begin(resume, "adapter")
    step = optimisation.restore(state) if state else 0
    seed = process_seed(recipe.seed, 0, step)
    torch.manual_seed(seed)
    batches = PairBatches(folders, backbone, random.Random(seed), state.get("held_out", "") if state else "")
    clock = Clock(recipe.minutes)

    def state_now() -> dict[str, Any]:
        return {**optimisation.state(), "step": step, "held_out": batches.held_out_file}

    with log.kept_when_interrupted(state_now):
        while not clock.over:
            optimisation.step(batches.draw(recipe.rows, recipe.side), recipe.learning_rate_at(step, clock.progress))
            step += 1
            clock.tick()
            if step % recipe.log_steps == 0 or clock.over:
                log.write(step=step, progress=round(clock.progress, 4), **optimisation.take())
            if step % recipe.check_steps == 0 or clock.over:
                pairs = sum(map(len, batches.pairs.values()))
                log.write(step=step, pairs=pairs, **optimisation.check(batches.held_out_rows()))
                batches.refresh()
            if clock.due("save", recipe.save_minutes):
                log.save(state_now())
    save_adapter(out / ADAPTER_FILE, of_rank(optimisation.average, recipe.saved_rank), backbone.fingerprint)
    return out / ADAPTER_FILE
