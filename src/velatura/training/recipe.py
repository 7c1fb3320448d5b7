"""The whole recipe of the house model, from folders of pictures to a diffusers folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from velatura.errors import SettingError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.progress import Progress
from velatura.training.autoencoder import AutoencoderRecipe, DeeperRecipe, train_autoencoder, train_deeper
from velatura.training.check import check_house
from velatura.training.denoiser import DenoiserRecipe, train_denoiser
from velatura.training.journal import CHECKPOINT
from velatura.training.pack import pack


@dataclass(frozen=True)
class Recipe:
    """What one run spends, in optimiser steps, and its seed."""

    autoencoder_steps: int = 6000
    deeper_steps: int = 8000
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
    """Pack, train the autoencoder, deepen it and train it on, then train the denoiser; check.

    Each stage that is whole is not run again. ``out`` then holds shards, autoencoder, deeper, denoiser (logs,
    checkpoints, and the model as ``house``) and check.
    """
    shards, processes = out / "shards", Accelerator(mixed_precision="bf16")
    if not any(shards.glob("train-*.safetensors")):
        if not photos or not paintings:
            raise SettingError(f"There are no shards in {shards}: give --photos and --paintings to pack.")
        if processes.is_main_process:
            pack(photos, paintings, heldout, shards, recipe.painted_share, recipe.seed, progress)
        processes.wait_for_everyone()

    def autoencoder(stage: str, train: Callable[[Path, bool], HouseAutoencoder]) -> HouseAutoencoder:
        folder = out / stage
        if resume and (folder / "vae" / "config.json").is_file():
            finished: HouseAutoencoder = HouseAutoencoder.from_pretrained(folder / "vae")
            return finished
        return train(folder, resume and (folder / CHECKPOINT).is_file())

    whole = AutoencoderRecipe(steps=recipe.autoencoder_steps, seed=recipe.seed)
    first = autoencoder("autoencoder", lambda folder, begun: train_autoencoder(shards, folder, whole, begun, progress))
    further = DeeperRecipe(steps=recipe.deeper_steps, seed=recipe.seed)
    vae = autoencoder("deeper", lambda folder, begun: train_deeper(first, shards, folder, further, begun, progress))
    begun = (out / "denoiser" / CHECKPOINT).is_file()
    denoiser = DenoiserRecipe(small_steps=recipe.small_steps, large_steps=recipe.large_steps, seed=recipe.seed)
    train_denoiser(shards, out / "denoiser", vae, denoiser, resume and begun, progress)
    if processes.is_main_process:
        check_house(str(out / "denoiser" / "house"), shards, out / "check", progress)
    processes.end_training()
