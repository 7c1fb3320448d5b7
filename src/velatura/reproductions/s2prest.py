"""S2PreST and InST with the arithmetic of the published S2PreST program (spec s2prest, section 4)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.errors import ModelError
from velatura.methods.base import Size, with_recommended
from velatura.methods.s2prest.conditioned import Context
from velatura.methods.s2prest.method import InST, S2PreST
from velatura.methods.s2prest.quantities import Entry, Noises
from velatura.methods.s2prest.settings import PUBLISHED
from velatura.methods.s2prest.style import StylePart
from velatura.models.backbone import Backbone, PictureWords
from velatura.models.encoders.clip import ClipImageEncoder
from velatura.models.noise_schedule import NoiseSchedule
from velatura.picture import image_to_pixels

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

PUBLISHED_SIZE = (512, 512)


@dataclass(frozen=True)
class S2PreSTOriginal(S2PreST):
    """S2PreST as its published program computes it, bugs included, with dropout off.

    Pictures are squashed to 512 x 512, so that ``size`` has no effect; the inversion is stochastic; what a model's
    folder recommends is not heeded.
    """

    name: ClassVar[str] = "s2prest-original"

    def resolved(self, backbone: Backbone) -> Self:
        """With the published program's values where nothing was set."""
        return with_recommended(replace(self, inversion=""), PUBLISHED, {})

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model that does not use CLIP's image encoder."""
        super().check_backbone(backbone)
        clip_of(backbone, self.name)

    def working_size(self, size: Size, backbone: Backbone) -> Size:
        """512 x 512, whatever the content's proportions."""
        return PUBLISHED_SIZE

    def working_pixels(self, image: Image.Image, size: Size) -> Tensor:
        """The picture squashed to the working size."""
        return image_to_pixels(resize_across_first(image.convert("RGB"), size))

    def style_pixels(self, image: Image.Image, size: Size) -> Tensor:
        """The picture squashed to the working size."""
        return self.working_pixels(image, size)

    def encode_image(self, pixels: Tensor, context: Context) -> Tensor:
        """CLIP's embedding (1, E) of [-1, 1] cast to bytes, a bug: 255 for pure black, 1 for pure white, else 0."""
        cast = pixels.to(torch.int16).numpy().astype(np.uint8)[0].transpose(1, 2, 0)
        return clip_of(context.backbone, self.name).encode_pil(Image.fromarray(np.ascontiguousarray(cast)))

    def style_embedding(self, style: StylePart, context: Context) -> Tensor | None:
        """e(S) of the same cast, or what the style keeps where it has no picture."""
        if style.picture is None:
            return style.embedding
        return self.encode_image(self.style_pixels(style.picture, PUBLISHED_SIZE), context)

    def draw_noises(self, shape: torch.Size, context: Context) -> Noises:
        """Independent noises in the published order: posteriors of style, content, edges, then the forward noisings."""
        generator = context.generator()
        style, content, edges, noise_content, noise_edges = (
            torch.randn(shape, generator=generator).to(context.device) for _ in range(5)
        )
        return Noises(noise_content, noise_edges, style, content, edges)

    def entry(self, schedule: NoiseSchedule) -> Entry:
        """The noise estimate at t = int(1000 s), but int(s T) steps, whose first level differs: a mismatch."""
        timestep = min(int(1000 * self.strength), len(schedule) - 1)
        return Entry(timestep, float(schedule.alphas_cumprod[timestep]), int(self.strength * self.steps))

    def to_image(self, pixels: Tensor, size: Size) -> Image.Image:
        """Pixels truncated to bytes, then squashed back to ``size``."""
        unit = ((pixels.detach().float().cpu() + 1) / 2).clamp(0, 1)
        array = (255 * unit[0].permute(1, 2, 0)).numpy().astype(np.uint8)
        return resize_across_first(Image.fromarray(array), size)

    def cache_key(self, size: Size, context: Context) -> tuple[Hashable, ...]:
        """The seed too: the latents are samples of the posterior."""
        return *super().cache_key(size, context), "original", context.seed


@dataclass(frozen=True)
class InSTOriginal(InST, S2PreSTOriginal):
    """InST's settings with the same arithmetic."""

    name: ClassVar[str] = "inst-original"


def clip_of(backbone: Backbone, method: str) -> ClipImageEncoder:
    """The model's CLIP image encoder. Raises ModelError where it has another or none."""
    encoder = None if isinstance(backbone, PictureWords) else getattr(backbone, "image_encoder", None)
    if not isinstance(encoder, ClipImageEncoder):
        raise ModelError(f"--method {method} needs CLIP's image encoder, which {backbone.name} does not use.")
    return encoder


def resize_across_first(image: Image.Image, size: Size) -> Image.Image:
    """LANCZOS to ``size`` (width, height), horizontally first: newer Pillow would choose the order itself."""
    across = image.resize((size[0], image.height), Image.Resampling.LANCZOS)
    return across.resize(size, Image.Resampling.LANCZOS)
