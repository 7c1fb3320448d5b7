"""The house denoiser as it is trained: recipe, networks, and the pipeline that they become."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from velatura.errors import ModelError
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.models.house.vocabulary import PROMPT_LENGTH
from velatura.models.recommended import RECOMMENDED_FILE, RecommendedSettings, write_recommended_settings
from velatura.models.token_embeddings import token_embeddings_replaced
from velatura.training.batches import LARGE

SAVED = frozenset(
    ["model_index.json", RECOMMENDED_FILE, "scheduler", "tokenizer", "vae", "unet", "text_encoder", "image_encoder"]
)


@dataclass(frozen=True)
class DenoiserRecipe:
    """Settings of the denoiser's training: ``small`` steps on 128 px pictures, then ``large`` steps on 256 px."""

    small_steps: int = 3000
    large_steps: int = 1500
    small_batch: int = 48
    large_batch: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 200
    decay_share: float = 0.4  # of all steps, at the end, over which the learning rate falls to zero
    average_decay: float = 0.999
    widths: tuple[int, ...] = (64, 160, 288)
    layers_per_block: int = 1
    word_width: int = 192
    text_layers: int = 3
    empty_share: float = 0.2
    word_share: float = 0.75
    style_only_share: float = 0.5  # of the words: the style vector without EfficientNet's features
    recolour_share: float = 0.35  # of the pictures with a word: in other colours than the word's picture
    seed: int = 0
    every: int = 250

    @property
    def steps(self) -> int:
        """All steps."""
        return self.small_steps + self.large_steps

    def batch_at(self, step: int) -> tuple[int, int]:
        """Pictures in a step's batch, and their side in pixels."""
        return (self.small_batch, LARGE // 2) if step < self.small_steps else (self.large_batch, LARGE)

    def learning_rate_at(self, step: int) -> float:
        """Warm-up, plateau, linear fall: the plateau can be prolonged by resuming with more steps."""
        rising = min(1.0, (step + 1) / self.warmup_steps)
        falling = min(1.0, (self.steps - step) / (self.decay_share * self.steps))
        return self.learning_rate * rising * falling


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with v prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_unet(recipe: DenoiserRecipe, latent_channels: int) -> UNet2DConditionModel:
    """A UNet with cross-attention in all but the finest level and heads about 32 wide."""
    attending = len(recipe.widths) - 1
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers_per_block,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * attending,
        up_block_types=("CrossAttnUpBlock2D",) * attending + ("UpBlock2D",),
        attention_head_dim=tuple(max(1, width // 32) for width in recipe.widths),
        cross_attention_dim=recipe.word_width,
    )


def make_text_encoder(recipe: DenoiserRecipe, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A small CLIP text transformer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.word_width,
            intermediate_size=4 * recipe.word_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=recipe.word_width // 32,
            max_position_embeddings=PROMPT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


class Denoiser(nn.Module):
    """UNet, text encoder and image encoder as one module, so that several GPUs can share their training pass."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, image_encoder: HouseImageEncoder):
        super().__init__()
        self.unet, self.text_encoder, self.image_encoder = unet, text_encoder, image_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor, at: Tensor, embeddings: Tensor) -> Tensor:
        """v predictions (B, C, h, w) of ``noisy`` latents under token ``ids`` (B, L).

        The placeholders, marked in ``at`` (B, L), become the words of image ``embeddings`` (B, 1380).
        """
        words = self.image_encoder(embeddings)[:, None]
        with token_embeddings_replaced(self.text_encoder, at, words):
            states = self.text_encoder(ids).last_hidden_state
        predicted: Tensor = self.unet(noisy, timesteps, states).sample
        return predicted


def house_pipeline(model: Denoiser, tokenizer: CLIPTokenizer, vae: HouseAutoencoder) -> Any:
    """The trained parts as one diffusers pipeline."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=model.image_encoder,
        requires_safety_checker=False,
    )


@contextmanager
def averaged_weights(model: nn.Module, average: EMAModel) -> Iterator[None]:
    """The model has its averaged weights for the time of the block."""
    average.store(model.parameters())
    average.copy_to(model.parameters())
    try:
        yield
    finally:
        average.restore(model.parameters())


def check_replaceable(folder: Path) -> None:
    """Raise ModelError where ``save_house`` would delete from ``folder`` what no training has written."""
    others = sorted(path.name for path in folder.glob("*") if path.name not in SAVED)
    if others:
        raise ModelError(
            f"{folder}, which the trained model replaces, holds other files ({', '.join(others[:3])}): move them away, "
            "or give another --out."
        )


def save_house(
    out: Path,
    model: Denoiser,
    average: EMAModel,
    tokenizer: CLIPTokenizer,
    vae: HouseAutoencoder,
    recommended: RecommendedSettings,
) -> None:
    """Put the averaged model in the place of the folder ``out``: diffusers' files, fp16, of at most 15 MB, and the
    settings that are ``recommended`` with it.
    """
    with averaged_weights(model, average):
        # A copy is halved, never the model: changing a parameter's format drops the hooks that share its gradients.
        averaged, autoencoder = copy.deepcopy(model).half(), copy.deepcopy(vae).half()
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    house_pipeline(averaged, tokenizer, autoencoder).save_pretrained(unfinished, max_shard_size="15MB")
    write_recommended_settings(unfinished, recommended)
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)
