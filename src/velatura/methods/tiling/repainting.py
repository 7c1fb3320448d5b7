"""Painting a stylised picture again at the photo's full size, in overlapping tiles.

The stylised picture, made at a working size, is the composition. It is enlarged with the photo's fine detail, noised a
little by one field of noise, and denoised under the style's own conditioning (SDEdit, Meng et al. 2022), all tiles
taking each step together. Large enlargements go by steps of at most 2, so that strokes of every size are painted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.denoising import DenoisingStep, Steer, denoise
from velatura.diffusion.inversion import Predict
from velatura.diffusion.samplers import Run, make_sampler
from velatura.diffusion.shared_norms import SharedNorms, shared_norms
from velatura.errors import SettingError
from velatura.methods.context import RunContext
from velatura.methods.shared_settings import FULL
from velatura.methods.tiling.autoencoding import cells_of, decoded, encoded
from velatura.methods.tiling.grid import Grid
from velatura.methods.tiling.predicting import TiledPrediction
from velatura.models.backbone import Backbone, HasUNet
from velatura.models.noise_schedule import Levels, add_noise
from velatura.picture import pixels_to_image
from velatura.picture.blur import binomial
from velatura.picture.enlarging import Enlarged
from velatura.progress import Progress, Silent

if TYPE_CHECKING:
    from velatura.methods.base import Method, WorkingPicture

STEPS, RUN = 12, 2  # of the denoising steps, how many are run: with more, eyes in pale styles go
LARGEST_STEP = 2.0  # by which a picture is enlarged at once
TILE = 512  # pixels of a tile's side, or the model's native size where that is more
ANCHOR = 1.0  # share of the coarse part that is taken from the composition
NOISE_OFFSET = 1000  # of the seed: the noise of a run's other parts is not used again


@runtime_checkable
class TileMethod(Protocol):
    """A method that can denoise tiles."""

    def tile_predictors(
        self, content: WorkingPicture, levels: Levels, context: RunContext[Any]
    ) -> AbstractContextManager[Sequence[Predict]]:
        """While open, each region's noise prediction for any tiles (B, C, h, w), at the timesteps of ``levels``."""
        ...


def check_paints_tiles(method: Method) -> None:
    """Raise SettingError where the full resolution is asked of a method that cannot denoise tiles."""
    if method.resolution == FULL and not isinstance(method, TileMethod):
        raise SettingError(f"The method {method.name} cannot paint at the photo's full size: leave out --size full.")


def picture_of(method: Method, content: WorkingPicture, pixels: Tensor, context: RunContext[Backbone]) -> Image.Image:
    """The stylised ``pixels`` (1, 3, h, w) of a content at the content's size: enlarged, or painted there."""
    if method.resolution == FULL and isinstance(method, TileMethod):
        return repainted(method, content, pixels, context)
    return method.to_image(pixels, content.picture.size)


@torch.no_grad()
def repainted(
    method: TileMethod, content: WorkingPicture, pixels: Tensor, context: RunContext[Backbone]
) -> Image.Image:
    """The stylised ``pixels`` (1, 3, h, w) of a content at the content's size, painted again; only resized where that
    is not larger.
    """
    photo, picture = content.picture.image, pixels_to_image(pixels)
    sizes = growing_sizes(picture.size, photo.size)
    if not sizes:
        return pixels_to_image(pixels, photo.size)
    levels = context.backbone.schedule.ddim_levels(STEPS).up_to(RUN)
    with method.tile_predictors(content, levels, context) as predicts, _norms(context.backbone) as norms:
        for number, size in enumerate(sizes):
            source = Enlarged(picture, photo.resize(size, Image.Resampling.LANCZOS))
            work = Repainting(source, content, predicts, norms, NOISE_OFFSET + number)
            picture = work.run(levels, context)
    return picture


def growing_sizes(small: tuple[int, int], large: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes (width, height) from above ``small`` up to ``large``, each at most about twice the one before; none where
    ``large`` is not larger.
    """
    ratio = math.sqrt(large[0] * large[1] / (small[0] * small[1]))
    count = math.ceil(math.log(ratio, LARGEST_STEP) - 0.01) if ratio > 1.01 else 0
    scales = [ratio ** ((number + 1) / count - 1) for number in range(count)]
    return [(round(large[0] * scale), round(large[1] * scale)) for scale in scales]


@dataclass(frozen=True, eq=False)
class Repainting:
    """One enlargement: its ``source``, the content whose regions it follows, and the regions' predictions."""

    source: Enlarged
    content: WorkingPicture
    predicts: Sequence[Predict]
    norms: SharedNorms | None
    noise_offset: int

    def run(self, levels: Levels, context: RunContext[Backbone]) -> Image.Image:
        """The source noised to the last of ``levels`` and denoised again. Raises SettingError if that is not finite."""
        backbone = context.backbone
        cells, side = cells_of(self.source.size, backbone), max(TILE, backbone.native_size) // backbone.factor
        grid, fine = Grid.over(cells, side), Grid.over(cells, side, backbone.factor)
        clean = encoded(self.source, grid, backbone)
        shares = self.content.placement.shares(cells).to(clean)
        x = add_noise(clean, context.noise(clean.shape, self.noise_offset), levels.abars[-1])
        sampler = make_sampler("ddim", backbone.schedule, Run(STEPS, len(levels)))
        tiled = TiledPrediction(self.predicts, shares, grid, self.norms, lambda: None)
        what = f"painting {self.source.size[0]} x {self.source.size[1]}"
        with closing(ticks(context.progress, tiled.passes() * len(levels), what)) as done:
            counted = TiledPrediction(self.predicts, shares, grid, self.norms, lambda: next(done, None))
            small = SmallEstimates(context.progress, self.content.size, backbone)
            x = denoise(counted, x, sampler, steer=anchored_to(clean), progress=small)
            next(done, None)
        if not bool(x.isfinite().all()):
            raise SettingError(
                f"{self.content.picture.name} at full size is not finite and was not kept: use --dtype fp32."
            )
        picture = decoded(x, grid, fine, backbone)
        return picture.crop((0, 0, *self.source.size))


def anchored_to(clean: Tensor) -> Steer:
    """Steps whose x0 takes the coarse part of ``clean`` latents (ILVR, Choi et al. 2021, arXiv 2108.02938).

    Coarse is what a binomial filter over 3 x 3 cells leaves: shapes and colours stay, strokes are free.
    """

    def steer(step: DenoisingStep) -> DenoisingStep:
        x0 = step.x0
        return step.with_x0(x0 + ANCHOR * binomial(clean - x0, "replicate"))

    return steer


def ticks(progress: Progress, count: int, what: str) -> Generator[int, None, None]:
    """Report ``count`` items as one loop that somebody else goes through."""
    yield from progress.track(range(count), what)


@contextmanager
def _norms(backbone: Backbone) -> Iterator[SharedNorms | None]:
    """Shared statistics in the model's UNet; None where it has none."""
    with shared_norms(backbone.unet) if isinstance(backbone, HasUNet) else nullcontext() as norms:
        yield norms


class SmallEstimates(Silent):
    """Hands on the estimates of large latents, shrunk to the working size; loops are reported elsewhere."""

    def __init__(self, inner: Progress, size: tuple[int, int], backbone: Backbone) -> None:
        self._inner, self._cells = inner, cells_of(size, backbone)

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """Hand on a step's estimate, small."""
        self._inner.estimate(lambda: F.interpolate(x0(), self._cells, mode="area"))
