"""Training of the house autoencoder: the learned residual on top of the block DCT, then the same made deeper."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.evaluation import psnr
from velatura.models.features.vgg import perceptual_trunk
from velatura.models.house.autoencoder import BLOCK, HouseAutoencoder, residuals
from velatura.training.batches import Batches, batch_stream, centre_crops
from velatura.training.shards import read_shards
from velatura.training.training_log import TrainingLog, TrainingRun, process_seed

SIDE = 128


@dataclass(frozen=True)
class AutoencoderRecipe:
    """Settings of the autoencoder's training; a "crop" is 128 x 128 pixels."""

    steps: int = 4000
    batch: int = 16
    learning_rate: float = 8e-4
    square_weight: float = 0.0
    gradient_weight: float = 0.25
    spread_weight: float = 1e-4
    perceptual_weight: float = 0.02
    perceptual_crops: int = 1  # of each batch: the trunk costs more than the autoencoder
    latent_noise: float = 0.05
    seed: int = 0
    every: int = 250


@dataclass(frozen=True)
class DeeperRecipe(AutoencoderRecipe):
    """Settings of the second training, with more blocks at a quarter of the resolution on both sides.

    ``tether`` weighs the squared distance of the latents from those of the first autoencoder, so that a denoiser of
    those needs little further training.
    """

    more_encoder_blocks: int = 2
    more_decoder_blocks: int = 6
    learning_rate: float = 4e-4
    square_weight: float = 2.0
    perceptual_weight: float = 0.01
    latent_noise: float = 0.02
    tether: float = 0.003


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(restored: Tensor, pixels: Tensor, gradient_weight: float) -> Tensor:
    """L1 of the pixels plus ``gradient_weight`` times L1 of their horizontal and vertical differences."""
    slopes = zip(_slopes(restored), _slopes(pixels), strict=True)
    return F.l1_loss(restored, pixels) + gradient_weight * sum(
        (F.l1_loss(a, b) for a, b in slopes), start=restored.new_zeros(())
    )


def perceptual_loss(restored: Tensor, pixels: Tensor) -> Tensor:
    """Mean squared difference of channel-normalised VGG16 activations, summed over three layers."""
    trunk, layers = perceptual_trunk(pixels.device), ("relu1_2", "relu2_2", "relu3_3")
    with torch.no_grad():
        wanted = trunk.features(pixels, layers)
    ours = trunk.features(restored, layers)
    distances = [(F.normalize(ours[name]) - F.normalize(wanted[name])).square().sum(1).mean() for name in layers]
    return torch.stack(distances).sum()


class Tether:
    """``weight`` times the mean squared distance of latents from those of a ``finished`` autoencoder."""

    def __init__(self, finished: HouseAutoencoder, weight: float) -> None:
        self.finished, self.weight = copy.deepcopy(finished).requires_grad_(False).eval(), weight

    def __call__(self, latents: Tensor, pixels: Tensor) -> Tensor:
        held = self.finished.to(pixels.device).encode(pixels).latent_dist.mode()
        return self.weight * F.mse_loss(latents.float(), held.float())


def untethered(latents: Tensor, pixels: Tensor) -> Tensor:
    """No distance: zero."""
    return latents.new_zeros(())


@torch.no_grad()
def set_coefficient_scale(model: HouseAutoencoder, pixels: Tensor) -> None:
    """Scale DCT channels to the square root of their spread: coarse ones keep more variance; rms 1 in all."""
    spread = F.conv2d(pixels, model.analysis, stride=BLOCK).std((0, 2, 3))
    target = spread.sqrt() / spread.mean().sqrt()
    model.coefficient_scale.copy_(target / spread)


def _reconstruction_psnr(model: HouseAutoencoder, pixels: Tensor) -> float:
    with torch.no_grad():
        restored = torch.cat([model.decode(model.encode(x).latent_dist.mode()).sample for x in torch.split(pixels, 4)])
    return psnr(restored, pixels)


class Reconstruction(nn.Module):
    """The autoencoder's training pass as one module, so that several GPUs can share it."""

    def __init__(self, autoencoder: HouseAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pixels: Tensor, latent_noise: float) -> tuple[Tensor, Tensor]:
        """Pixels decoded from latents with noise of deviation ``latent_noise`` on them, and the latents without it."""
        latents = self.autoencoder.encode(pixels).latent_dist.mode()
        noisy = latents + latent_noise * torch.randn_like(latents)
        return self.autoencoder.decode(noisy).sample, latents


def deepened(finished: HouseAutoencoder, encoder_blocks: int, decoder_blocks: int) -> HouseAutoencoder:
    """The same function with more residual blocks, which begin as identities, at a quarter of the resolution."""
    deeper = copy.deepcopy(finished)
    width = deeper.config.block_out_channels[-2]
    begin, end = list(deeper.encoder), list(deeper.decoder)
    first_narrow = 2 + deeper.config.encoder_blocks
    deeper.encoder = nn.Sequential(*begin[:first_narrow], *residuals(width, encoder_blocks), *begin[first_narrow:])
    deeper.decoder = nn.Sequential(*end[:-3], *residuals(width, decoder_blocks), *end[-3:])
    deeper.register_to_config(
        encoder_blocks=deeper.config.encoder_blocks + encoder_blocks,
        decoder_blocks=deeper.config.decoder_blocks + decoder_blocks,
    )
    return deeper


def train_autoencoder(run: TrainingRun, recipe: AutoencoderRecipe) -> HouseAutoencoder:
    """Train an autoencoder, save it in ``vae`` of the run's folder and return it.

    Its scaling factor makes the latents' deviation 1. Raises ModelError where there is nothing to resume from.
    """
    batches = Batches(read_shards(run.shards, "train"), recipe.seed)
    torch.manual_seed(recipe.seed)
    model: HouseAutoencoder = HouseAutoencoder()
    set_coefficient_scale(model, batches.draw(256, SIDE)[0])
    _train(model, batches, recipe, run)
    with torch.no_grad():
        latents = model.encode(batches.draw(64, SIDE)[0].to(model.device)).latent_dist.mode()
    model.register_to_config(scaling_factor=float(1 / latents.std()))
    model.save_pretrained(run.out / "vae", is_main_process=PartialState().is_main_process)
    return model


def train_deeper(finished: HouseAutoencoder, run: TrainingRun, recipe: DeeperRecipe) -> HouseAutoencoder:
    """Deepen a ``finished`` autoencoder, train it on, save it in ``vae`` of the run's folder and return it."""
    batches = Batches(read_shards(run.shards, "train"), recipe.seed)
    torch.manual_seed(recipe.seed)
    model = deepened(finished, recipe.more_encoder_blocks, recipe.more_decoder_blocks)
    _train(model, batches, recipe, run, Tether(finished, recipe.tether))
    model.save_pretrained(run.out / "vae", is_main_process=PartialState().is_main_process)
    return model


def _train(
    model: HouseAutoencoder,
    batches: Batches,
    recipe: AutoencoderRecipe,
    run: TrainingRun,
    tether: Callable[[Tensor, Tensor], Tensor] = untethered,
) -> None:
    """Train ``model``; its losses are logged and its state checkpointed every ``recipe.every`` steps and at the end."""
    accelerator = Accelerator(mixed_precision="bf16")
    training = _Training(model, recipe, tether, accelerator)
    heldout = read_shards(run.shards, "heldout")
    checks = centre_crops(heldout).to(accelerator.device) if heldout else None
    log = TrainingLog(run.out)
    state = log.begin(run.resume, "model")
    first = training.restore(state) if state else 0
    seed = process_seed(recipe.seed, accelerator.process_index, first)
    torch.manual_seed(seed)
    stream = batch_stream(batches, recipe.batch, SIDE, seed, accelerator.device)
    training.prepare()
    for step in run.progress.track(range(first, recipe.steps), "autoencoder"):
        losses = training.step(next(stream)[0])
        done = step + 1
        if (done % recipe.every and done != recipe.steps) or not accelerator.is_main_process:
            continue
        numbers = {name: loss.item() for name, loss in losses.items()}
        run.progress.note(loss=numbers["loss"])
        if checks is not None:
            numbers["psnr"] = _reconstruction_psnr(model, checks)
        log.write(step=done, **numbers)
        log.save({**training.state(), "step": done})


class _Training:
    """The optimisation of an autoencoder, on the accelerator's device."""

    def __init__(
        self,
        model: HouseAutoencoder,
        recipe: AutoencoderRecipe,
        tether: Callable[[Tensor, Tensor], Tensor],
        accelerator: Accelerator,
    ) -> None:
        self.model, self.recipe, self.tether, self.accelerator = model, recipe, tether, accelerator
        model.to(accelerator.device, memory_format=torch.channels_last)
        self.trained: Any = Reconstruction(model)
        self.optimizer: Any = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.05
        )

    def restore(self, state: dict[str, Any]) -> int:
        """Take up a checkpoint; returns the steps that are done."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        return int(state["step"])

    def prepare(self) -> None:
        """Hand model and optimiser to the accelerator."""
        self.trained, self.optimizer = self.accelerator.prepare(self.trained, self.optimizer)

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """One optimiser step on pixels (B, 3, 128, 128); its loss, and the perceptual part of that, without weight."""
        pixels = batch.to(self.accelerator.device, memory_format=torch.channels_last)
        loss, perceptual = self._loss(pixels)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss.detach(), "perceptual": perceptual.detach()}

    def _loss(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        recipe, few = self.recipe, slice(self.recipe.perceptual_crops)
        with self.accelerator.autocast():
            restored, latents = self.trained(pixels, recipe.latent_noise)
            perceptual = perceptual_loss(restored[few], pixels[few])
            drift = self.tether(latents, pixels)
        loss = (
            reconstruction_loss(restored.float(), pixels, recipe.gradient_weight)
            + recipe.square_weight * F.mse_loss(restored.float(), pixels)
            + recipe.spread_weight * latents.float().square().mean()
            + recipe.perceptual_weight * perceptual.float()
            + drift
        )
        return loss, perceptual

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, without the steps."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
