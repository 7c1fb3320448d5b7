"""The whole recipe of the house model, from folders of pictures to a diffusers folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from velatura.errors import SettingError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.progress import Progress
from velatura.training.autoencoder import AutoencoderRecipe, train_autoencoder
from velatura.training.check import check_house
from velatura.training.denoiser import DenoiserRecipe, train_denoiser
from velatura.training.journal import CHECKPOINT
from velatura.training.pack import pack


@dataclass(frozen=True)
class Recipe:
    """What one run spends, in optimiser steps, and its seed."""

    autoencoder_steps: int = 6000
    small_steps: int = 6000
    large_steps: int = 4000
    seed: int = 0
    painted_share: float = 0.6


def run_recipe(
    photos: Sequence[Path],
    paintings: Sequence[Path],
    heldout: Sequence[Path],
    out: Path,
    recipe: Recipe,
    resume: bool,
    progress: Progress,
) -> None:
    """Pack, train the autoencoder, train the denoiser, check; each stage that is whole is not run again.

    ``out`` then holds shards, autoencoder, denoiser (logs, checkpoints, and the model as ``house``) and check.
    """
    shards, processes = out / "shards", Accelerator(mixed_precision="bf16")
    if not any(shards.glob("train-*.safetensors")):
        if not photos or not paintings:
            raise SettingError(f"There are no shards in {shards}: give --photos and --paintings to pack.")
        if processes.is_main_process:
            pack(photos, paintings, heldout, shards, recipe.painted_share, recipe.seed, progress)
        processes.wait_for_everyone()
    finished = out / "autoencoder" / "vae"
    if resume and (finished / "config.json").is_file():
        vae = HouseAutoencoder.from_pretrained(finished)
    else:
        begun = (out / "autoencoder" / CHECKPOINT).is_file()
        settings = AutoencoderRecipe(steps=recipe.autoencoder_steps, seed=recipe.seed)
        vae = train_autoencoder(shards, out / "autoencoder", settings, resume and begun, progress)
    begun = (out / "denoiser" / CHECKPOINT).is_file()
    denoiser = DenoiserRecipe(small_steps=recipe.small_steps, large_steps=recipe.large_steps, seed=recipe.seed)
    train_denoiser(shards, out / "denoiser", vae, denoiser, resume and begun, progress)
    if processes.is_main_process:
        check_house(str(out / "denoiser" / "house"), shards, out / "check", progress)
    processes.end_training()
