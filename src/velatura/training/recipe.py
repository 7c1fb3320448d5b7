"""The whole recipe of the house model, from folders of pictures to a diffusers folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from velatura.errors import SettingError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.progress import Progress
from velatura.training.autoencoder import AutoencoderRecipe, DeeperRecipe, train_autoencoder, train_deeper
from velatura.training.check import check_house, held_out_pictures
from velatura.training.denoiser import DenoiserRecipe
from velatura.training.denoiser_training import train_denoiser
from velatura.training.pack import Sources, pack
from velatura.training.training_log import CHECKPOINT, TrainingRun


@dataclass(frozen=True)
class Recipe:
    """Optimiser steps of each stage, the seed, and the share of photos that are also painted over."""

    autoencoder_steps: int = 6000
    deeper_steps: int = 8000
    small_steps: int = 6000
    large_steps: int = 4000
    seed: int = 0
    painted_share: float = 0.6


def run_recipe(pictures: Sources, out: Path, recipe: Recipe, resume: bool, progress: Progress) -> None:
    """Pack, train the autoencoder, deepen it and train it on, train the denoiser, check.

    ``out`` then holds shards, autoencoder, deeper, denoiser (logs, checkpoints, and the model as ``house``) and check.
    Shards that are there are taken; with ``resume``, so are autoencoders, and unfinished stages go on. Raises
    SettingError where there are neither shards nor pictures, PictureError for too few held-out pictures.
    """
    shards, processes = out / "shards", Accelerator(mixed_precision="bf16")
    if not any(shards.glob("train-*.safetensors")):
        if not pictures.photos or not pictures.paintings or not pictures.heldout:
            raise SettingError(f"There are no shards in {shards}: give --photos, --paintings and --heldout to pack.")
        if processes.is_main_process:
            pack(pictures, shards, recipe.painted_share, recipe.seed, progress)
        processes.wait_for_everyone()
    held_out_pictures(shards)  # before hours of training

    def stage(name: str) -> TrainingRun:
        return TrainingRun(shards, out / name, resume and (out / name / CHECKPOINT).is_file(), progress)

    def autoencoder(run: TrainingRun, train: Callable[[TrainingRun], HouseAutoencoder]) -> HouseAutoencoder:
        if resume and (run.out / "vae" / "config.json").is_file():
            finished: HouseAutoencoder = HouseAutoencoder.from_pretrained(run.out / "vae")
            return finished
        return train(run)

    whole = AutoencoderRecipe(steps=recipe.autoencoder_steps, seed=recipe.seed)
    first = autoencoder(stage("autoencoder"), lambda run: train_autoencoder(run, whole))
    further = DeeperRecipe(steps=recipe.deeper_steps, seed=recipe.seed)
    vae = autoencoder(stage("deeper"), lambda run: train_deeper(first, run, further))
    denoiser = DenoiserRecipe(small_steps=recipe.small_steps, large_steps=recipe.large_steps, seed=recipe.seed)
    train_denoiser(vae, stage("denoiser"), denoiser)
    if processes.is_main_process:
        check_house(str(out / "denoiser" / "house"), shards, out / "check", progress)
    processes.end_training()
