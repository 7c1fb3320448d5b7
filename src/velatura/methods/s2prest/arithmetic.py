"""The places where our arithmetic and the published one differ (spec s2prest, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.diffusion.schedules import ddim_levels, steps_of_strength
from velatura.errors import ModelError
from velatura.models.backbone import Backbone
from velatura.models.clip import ClipEyes
from velatura.picture import Sizing, image_to_pixels, pixels_to_image, plan_size
from velatura.picture.tensors import covering

PUBLISHED_SIDE = 512


@dataclass(frozen=True)
class Draws:
    """All that is random: noises of the posteriors (None: the mean is taken) and of the two forward noisings."""

    content: Tensor
    edges: Tensor
    style_posterior: Tensor | None = None
    content_posterior: Tensor | None = None
    edges_posterior: Tensor | None = None


@dataclass(frozen=True)
class Entry:
    """Where a run enters: the training timestep of the noise estimate, its abar, and the steps that remain."""

    timestep: int
    abar: float
    run: int


class Arithmetic(Protocol):
    """How pictures are sized, seen and noised, and where sampling is entered."""

    def sizing(self, size: tuple[int, int], asked: int, backbone: Backbone) -> Sizing:
        """The working size of a content of ``size`` (width, height)."""
        ...

    def pixels(self, image: Image.Image, working: tuple[int, int]) -> Tensor:
        """(1, 3, H, W) in [-1, 1] at the working size."""
        ...

    def style_pixels(self, image: Image.Image, working: tuple[int, int]) -> Tensor:
        """The style picture at the content's working size."""
        ...

    def see(self, pixels: Tensor, backbone: Backbone) -> Tensor:
        """The image embedding (1, E)."""
        ...

    def draws(self, shape: torch.Size, seed: int) -> Draws:
        """Everything random about one content whose latents have ``shape`` (1, C, h, w)."""
        ...

    def entry(self, backbone: Backbone, steps: int, strength: float) -> Entry:
        """Where ``strength`` of ``steps`` begins."""
        ...

    def image(self, pixels: Tensor, size: tuple[int, int]) -> Image.Image:
        """The result at the content's own size."""
        ...


class Ours:
    """Aspect kept, CLIP fed what it knows, one noise for both latents, estimate and sampler at one level."""

    def sizing(self, size: tuple[int, int], asked: int, backbone: Backbone) -> Sizing:
        return plan_size(size, asked or backbone.native_size, backbone.multiple)

    def pixels(self, image: Image.Image, working: tuple[int, int]) -> Tensor:
        return image_to_pixels(image, working)

    def style_pixels(self, image: Image.Image, working: tuple[int, int]) -> Tensor:
        return image_to_pixels(covering(image, working))

    def see(self, pixels: Tensor, backbone: Backbone) -> Tensor:
        return backbone.see(pixels)

    def draws(self, shape: torch.Size, seed: int) -> Draws:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return Draws(noise, noise)

    def entry(self, backbone: Backbone, steps: int, strength: float) -> Entry:
        run = steps_of_strength(steps, strength)
        levels = ddim_levels(backbone.alphas_cumprod, steps).up_to(max(1, run))
        return Entry(levels.timesteps[-1], levels.abars[-1], run)

    def image(self, pixels: Tensor, size: tuple[int, int]) -> Image.Image:
        return pixels_to_image(pixels, size)


class Published:
    """512 x 512, CLIP fed bytes cast from [-1, 1], independent noises, t = int(1000 s) against int(s T) steps."""

    def sizing(self, size: tuple[int, int], asked: int, backbone: Backbone) -> Sizing:
        return Sizing(size, (PUBLISHED_SIDE, PUBLISHED_SIDE))

    def pixels(self, image: Image.Image, working: tuple[int, int]) -> Tensor:
        return image_to_pixels(_resized(image.convert("RGB"), working))

    def style_pixels(self, image: Image.Image, working: tuple[int, int]) -> Tensor:
        return self.pixels(image, working)

    def see(self, pixels: Tensor, backbone: Backbone) -> Tensor:
        """What the bug leaves of a picture: 255 for black, 1 for white, 0 for all between."""
        eyes = getattr(backbone, "image_encoder", None)
        if not isinstance(eyes, ClipEyes):
            raise ModelError(f"compat=original needs CLIP's image encoder, which {backbone.name} does not use.")
        cast = pixels.to(torch.int16).numpy().astype(np.uint8)[0].transpose(1, 2, 0)
        return eyes.of_bytes(Image.fromarray(np.ascontiguousarray(cast)))

    def draws(self, shape: torch.Size, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        style, content, edges, noise_content, noise_edges = (torch.randn(shape, generator=generator) for _ in range(5))
        return Draws(noise_content, noise_edges, style, content, edges)

    def entry(self, backbone: Backbone, steps: int, strength: float) -> Entry:
        steps_of_strength(steps, strength)
        timestep = min(int(1000 * strength), len(backbone.alphas_cumprod) - 1)
        return Entry(timestep, float(backbone.alphas_cumprod[timestep]), int(strength * steps))

    def image(self, pixels: Tensor, size: tuple[int, int]) -> Image.Image:
        """Truncated to bytes, then LANCZOS."""
        unit = ((pixels.detach().float().cpu() + 1) / 2).clamp(0, 1)
        array = (255 * unit[0].permute(1, 2, 0)).numpy().astype(np.uint8)
        return _resized(Image.fromarray(array), size)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """LANCZOS, horizontally first: newer Pillow would choose the order itself."""
    across = image.resize((size[0], image.height), Image.Resampling.LANCZOS)
    return across.resize(size, Image.Resampling.LANCZOS)


ARITHMETICS: dict[str, Arithmetic] = {"": Ours(), "original": Published()}


def noised_mix(content: Tensor, edges: Tensor, noises: tuple[Tensor, Tensor], abar: float, share: float) -> Tensor:
    """(1 - share) q(z_C) + share q(z_K): what the noise is estimated in."""
    signal, spread = math.sqrt(abar), math.sqrt(1 - abar)
    return (1 - share) * (signal * content + spread * noises[0]) + share * (signal * edges + spread * noises[1])
