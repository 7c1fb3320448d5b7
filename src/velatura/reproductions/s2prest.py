"""S2PreST and InST with the arithmetic of the published S2PreST program (spec s2prest, section 4)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from velatura.cache import tensor_digest
from velatura.errors import ModelError, SettingError, StyleError
from velatura.methods.base import RunResult, Size, Stylization, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.s2prest.conditioned import Context
from velatura.methods.s2prest.inst import InST
from velatura.methods.s2prest.method import S2PreST
from velatura.methods.s2prest.quantities import Conditions, ContentBatch, Entry, Noises
from velatura.methods.s2prest.style import S2PreSTStyle, StylePart
from velatura.models.backbone import Backbone, PictureWords
from velatura.models.encoders.clip import ClipImageEncoder
from velatura.models.noise_schedule import NoiseSchedule
from velatura.picture import image_to_pixels
from velatura.style import Style

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

PUBLISHED_SIZE = (512, 512)
Q_SAMPLES = ("q_sample.0", "q_sample.1")  # the noises of the forward noisings, of content and edges
DROPOUT = 0.05  # the published module's rate
DROPOUT_MASKS = tuple(f"dropout.{of}.{place}" for of in ("style", "content", "canny") for place in ("attn2", "net"))


@dataclass(frozen=True)
class S2PreSTOriginal(S2PreST):
    """S2PreST as its published program computes it, bugs included, with dropout off.

    Pictures are squashed to 512 x 512, so that ``size`` has no effect; the inversion is stochastic; what a model's
    folder recommends is not heeded. ``noise_file`` is a safetensors file of what would be drawn from the seed, or a
    part of it, and of dropout masks (see ``given_draws``): with masks, dropout is on, as it was published.
    """

    as_published: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    name: ClassVar[str] = "s2prest-original"
    drawn: ClassVar[tuple[str, ...]] = ("posterior.style", "posterior.content", "posterior.canny", *Q_SAMPLES)

    noise_file: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_file:
            given_draws(Path(self.noise_file))

    def resolved(self, backbone: Backbone, styles: Sequence[Style] = ()) -> Self:
        """With the published program's values where nothing was set."""
        published = replace(self, inversion="").with_advice({})
        return replace(published, strokes=self.strokes)  # there are none: asked for, they are refused

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
        """Independent noises in the published order: posteriors of style, content, edges, then the forward noisings.

        Those in the ``noise_file`` stand for the drawn ones. Raises SettingError for one of another shape.
        """
        generator = context.generator()
        noises = {name: torch.randn(shape, generator=generator) for name in self.drawn}
        given = self._given()
        for name in (name for name in self.drawn if name in given):
            noises[name] = given[name].float()
            if noises[name].shape != shape:
                raise SettingError(
                    f"noise.{name} in {self.noise_file} is {list(noises[name].shape)}: here it must be {list(shape)}."
                )
        noises = {name: noise.to(context.device) for name, noise in noises.items()}
        content, edges = (noises.get(name, noises[Q_SAMPLES[0]]) for name in Q_SAMPLES)
        return Noises(content, edges, *(noises.get(f"posterior.{of}") for of in ("style", "content", "canny")))

    def _given(self) -> dict[str, Tensor]:
        """What the ``noise_file`` holds."""
        return given_draws(Path(self.noise_file)) if self.noise_file else {}

    def conditions(self, batch: ContentBatch, style: S2PreSTStyle, context: Context) -> Conditions:
        """The conditionings, under the given dropout masks where there are some.

        Raises StyleError for masks and a style without the published module, SettingError for masks of another width.
        """
        found = super().conditions(batch, style, context)
        embeddings: dict[str, Tensor | None] = {"content": batch.e_content, "canny": batch.e_edges}
        embeddings["style"] = self.style_embedding(style.parts[0], context)
        for of, embedding in embeddings.items():
            masks = [mask for name, mask in self._given().items() if name.startswith(f"dropout.{of}.")]
            if masks and embedding is not None:
                embedding = embedding.to(context.device).expand(len(batch.e_content), -1)
                word = self._word_under(masks, style, embedding)
                conditioning = self._encode_prompt(self.prompt, word, context)
                found = replace(found, **{"edges" if of == "canny" else of: conditioning})
        return found

    def _word_under(self, masks: Sequence[Tensor], style: S2PreSTStyle, embedding: Tensor) -> Tensor:
        """The word of an image embedding under dropout: what a mask keeps is scaled up by 1 / (1 - p)."""
        module = style.parts[0].module
        if module is None or len(style.parts) > 1:
            raise StyleError(
                f"The style '{style.name}' is not one published embedding, which dropout masks need: import its "
                "embeddings.pt again, and give no mix."
            )
        kept = torch.ones_like(module.hidden_bias)
        for mask in masks:
            if mask.numel() != kept.numel():
                raise SettingError(
                    f"A dropout mask in {self.noise_file} has {mask.numel()} entries: this style's have {kept.numel()}."
                )
            kept = kept * (mask.flatten() != 0) / (1 - DROPOUT)
        return module.word_map(kept).to(embedding.device)(embedding)

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
        """The seed and the given noises too: the latents are samples of the posterior."""
        digests = tuple(tensor_digest(tensor) for _, tensor in sorted(self._given().items()))
        return *super().cache_key(size, context), "original", context.seed, *digests


@dataclass(frozen=True)
class InSTOriginal(InST, S2PreSTOriginal):
    """InST's settings with the same arithmetic; the result stays the 512 x 512 square."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    name: ClassVar[str] = "inst-original"
    drawn: ClassVar[tuple[str, ...]] = ("posterior.style", "posterior.content", Q_SAMPLES[0])

    def to_image(self, pixels: Tensor, size: Size) -> Image.Image:
        """Pixels truncated to bytes, at their own size."""
        return super().to_image(pixels, PUBLISHED_SIZE)

    def _stylization(
        self, content: WorkingPicture, run: RunResult, spent: Mapping[str, float], context: RunContext[Backbone]
    ) -> Stylization:
        """The result; the content's transparency is squashed with it."""
        made = super()._stylization(content, run, spent, context)
        alpha = made.alpha and resize_across_first(made.alpha, made.picture.size)
        return replace(made, alpha=alpha)


def given_draws(path: Path) -> dict[str, Tensor]:
    """The noises and dropout masks in a safetensors file.

    Noises (1, 4, 64, 64) are ``noise.posterior.N`` with N style, content or canny, and ``noise.q_sample.0`` (content)
    and ``.1`` (edges); they are named without ``noise.`` here. Masks are ``dropout.N.attn2`` (after the attention) and
    ``dropout.N.net`` (before the last layer), of the hidden width, 0 where something is dropped. Anything else in the
    file, as in a recording, is left alone. Raises SettingError for a file that cannot be read or holds none of them.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SettingError(f"The noise_file {path} cannot be read ({error}): give a safetensors file.") from None
    known = {f"noise.{name}": name for name in S2PreSTOriginal.drawn}
    known |= {name: name for name in DROPOUT_MASKS}
    given = {name: tensors[key] for key, name in known.items() if key in tensors}
    if not given:
        raise SettingError(f"The noise_file {path} holds no draws: name them {', '.join(known)}.")
    return given


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
