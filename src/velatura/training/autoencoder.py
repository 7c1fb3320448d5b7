"""Training of the house autoencoder: the learned residual on top of the block DCT, then the same made deeper."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.evaluation import psnr
from velatura.models.house.autoencoder import BLOCK, HouseAutoencoder, residuals
from velatura.models.perceptual import perceptual_trunk
from velatura.progress import Progress
from velatura.training.batches import Batches, batch_stream, centre_crops
from velatura.training.journal import Journal
from velatura.training.shards import read_shards

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

    ``tether`` weighs the latents' squared distance from those of the first: a denoiser of these needs little to follow.
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
    return latents.new_zeros(())


@torch.no_grad()
def set_coefficient_scale(model: HouseAutoencoder, pixels: Tensor) -> None:
    """Scale DCT channels to the square root of their spread: coarse ones keep more variance; rms 1 in all."""
    spread = F.conv2d(pixels, model.analysis, stride=BLOCK).std((0, 2, 3))
    target = spread.sqrt() / spread.mean().sqrt()
    model.coefficient_scale.copy_(target / spread)


def _checked(model: HouseAutoencoder, pixels: Tensor) -> float:
    with torch.no_grad():
        restored = torch.cat([model.decode(model.encode(x).latent_dist.mode()).sample for x in torch.split(pixels, 4)])
    return psnr(restored, pixels)


class Reconstruction(nn.Module):
    """The autoencoder as its training calls it, as one module so that several GPUs can share it."""

    def __init__(self, autoencoder: HouseAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pixels: Tensor, latent_noise: float) -> tuple[Tensor, Tensor]:
        """Pixels restored from latents with noise of that size on them, and the latents."""
        latents = self.autoencoder.encode(pixels).latent_dist.mode()
        noisy = latents + latent_noise * torch.randn_like(latents)
        return self.autoencoder.decode(noisy).sample, latents


def deepened(finished: HouseAutoencoder, encoder_blocks: int, decoder_blocks: int) -> HouseAutoencoder:
    """The same function with more blocks at a quarter of the resolution to learn with."""
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


def train_autoencoder(
    shards: Path, out: Path, recipe: AutoencoderRecipe, resume: bool, progress: Progress
) -> HouseAutoencoder:
    """Train on ``shards``, log and checkpoint in ``out``, save the model in ``out/vae`` and return it."""
    batches = Batches(read_shards(shards, "train"), recipe.seed)
    torch.manual_seed(recipe.seed)
    model = HouseAutoencoder()
    set_coefficient_scale(model, batches.draw(256, SIDE)[0])
    model = _trained(model, batches, shards, out, recipe, resume, progress)
    with torch.no_grad():
        latents = model.encode(batches.draw(64, SIDE)[0].to(model.device)).latent_dist.mode()
    model.register_to_config(scaling_factor=float(1 / latents.std()))
    model.save_pretrained(out / "vae", is_main_process=PartialState().is_main_process)
    return model


def train_deeper(
    finished: HouseAutoencoder, shards: Path, out: Path, recipe: DeeperRecipe, resume: bool, progress: Progress
) -> HouseAutoencoder:
    """Deepen a ``finished`` autoencoder, train it on, save the model in ``out/vae`` and return it."""
    batches = Batches(read_shards(shards, "train"), recipe.seed)
    torch.manual_seed(recipe.seed)
    model = deepened(finished, recipe.more_encoder_blocks, recipe.more_decoder_blocks)
    model = _trained(model, batches, shards, out, recipe, resume, progress, Tether(finished, recipe.tether))
    model.save_pretrained(out / "vae", is_main_process=PartialState().is_main_process)
    return model


def _trained(
    model: HouseAutoencoder,
    batches: Batches,
    shards: Path,
    out: Path,
    recipe: AutoencoderRecipe,
    resume: bool,
    progress: Progress,
    tether: Callable[[Tensor, Tensor], Tensor] = untethered,
) -> HouseAutoencoder:
    accelerator = Accelerator(mixed_precision="bf16")
    device = accelerator.device
    model.to(device, memory_format=torch.channels_last)
    heldout = read_shards(shards, "heldout")
    checks = centre_crops(heldout).to(device) if heldout else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.05
    )
    journal, first = Journal(out), 0
    if resume:
        state = journal.load()
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    own_seed = (recipe.seed * 101 + accelerator.process_index) * 100_003 + first
    torch.manual_seed(own_seed)
    stream = batch_stream(batches, recipe.batch, SIDE, own_seed, device)
    trained, optimizer = accelerator.prepare(Reconstruction(model), optimizer)
    for step in progress.track(range(first, recipe.steps), "autoencoder"):
        pixels = next(stream)[0].to(device, memory_format=torch.channels_last)
        with accelerator.autocast():
            restored, latents = trained(pixels, recipe.latent_noise)
            few = slice(recipe.perceptual_crops)
            perceptual = perceptual_loss(restored[few], pixels[few])
            drift = tether(latents, pixels)
        loss = (
            reconstruction_loss(restored.float(), pixels, recipe.gradient_weight)
            + recipe.square_weight * F.mse_loss(restored.float(), pixels)
            + recipe.spread_weight * latents.float().square().mean()
            + recipe.perceptual_weight * perceptual.float()
            + drift
        )
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        done = step + 1
        if (done % recipe.every == 0 or done == recipe.steps) and accelerator.is_main_process:
            progress.note(loss=loss.item())
            numbers = {"psnr": _checked(model, checks)} if checks is not None else {}
            journal.write(step=done, loss=loss.item(), perceptual=perceptual.item(), **numbers)
            journal.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": done,
                }
            )
    return model
