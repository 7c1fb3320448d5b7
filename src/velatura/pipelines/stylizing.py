"""What the custom diffusers pipelines share: diffusers' arguments around a Studio on the pipeline itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

# A folder of the house model names its own classes; diffusers takes them from imported modules only.
import velatura.models.house.autoencoder
import velatura.models.house.image_encoder  # noqa: F401
from velatura.app.pictures import PictureLike
from velatura.app.studio import OneStyle, Studio, StyleChoice
from velatura.cache import Cache
from velatura.errors import SettingError
from velatura.methods.adapters.given import GivenAdapters
from velatura.methods.base import Stylization
from velatura.models.loading.kinds import without_placeholders
from velatura.picture import Picture
from velatura.pipelines.families import check_family
from velatura.pipelines.given import as_settings, check_control_of_one, with_given
from velatura.pipelines.ip_adapter import set_aside
from velatura.pipelines.pictures import Array, read_picture, read_pictures, read_style
from velatura.pipelines.progress import TENSORS, Callback, PipelineProgress, check_callback
from velatura.pipelines.restoring import left_as_they_were
from velatura.pipelines.schedulers import sampler_settings
from velatura.style import Style

OUTPUT_TYPES = ("pil", "np", "pt")
SEEDS = 2**31
Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class StylizationOutput(BaseOutput):  # type: ignore[misc]
    """Pictures in the asked form, and the manifest of each: all that is needed to make it again.

    ``images`` are PIL images ("pil"), an array (B, H, W, 3) ("np") or a tensor (B, 3, H, W) ("pt") in [0, 1].
    """

    images: list[Image.Image] | Array | Tensor
    manifests: list[Mapping[str, Any]]


class Stylizing:
    """A stock pipeline's counterpart that stylises: mixed in before it, so that loading, saving, offloading, LoRA and
    schedulers stay the stock pipeline's own. The work is a Studio's; ``method_name`` says by which method,
    ``family`` for which models, and ``own_adapters`` whether that puts LoRA adapters of its own on the UNet.
    """

    method_name: ClassVar[str]
    family: ClassVar[str]
    own_adapters: ClassVar[bool] = False
    interrupt: bool
    components: Mapping[str, Any]
    scheduler: Any

    def register_modules(self, **parts: Any) -> None:
        """Take the parts of a pipeline. Raises ModelError for those of another family than it is for."""
        check_family(parts, self.family, type(self).__name__)
        super().register_modules(**parts)  # type: ignore[misc]

    def studio(self) -> Studio:
        """A Studio on this pipeline as it is now, with a cache of its own: what changes a pipeline (FreeU, hooks, LoRA,
        other weights) leaves no trace that tells whether something computed before still holds.

        Raises SettingError for LoRA that is loaded where the method brings its own.
        """
        self._check_adapters()
        studio = Studio(self)
        studio.cache = Cache()
        return studio

    @contextmanager
    def _working(self, given: GivenAdapters, callback: Callback | None = None) -> Iterator[Studio]:
        """A Studio for a call, after which the pipeline is as it was."""
        without_placeholders(self)
        with left_as_they_were(self.components.values()), set_aside(self, given) as aside:
            studio = self.studio()
            studio.progress, studio.given = PipelineProgress(self, callback, aside.shown), aside.given
            yield studio

    def _check_adapters(self) -> None:
        if self.own_adapters and self._has_adapters():
            raise SettingError(
                f"The method {self.method_name} puts adapters of its own on the UNet: call fuse_lora() and then "
                "unload_lora_weights() to keep what yours do."
            )

    def _has_adapters(self) -> bool:
        network = self.components.get("unet") or self.components.get("transformer")
        return bool(getattr(network, "peft_config", None))

    def fit_style(
        self,
        image: PictureLike | list[PictureLike],
        name: str = "",
        mask_image: PictureLike | None = None,
        **settings: Any,
    ) -> Style:
        """Fit a style once, to be given as ``style``; white in ``mask_image`` is what counts of the picture."""
        mask = None if mask_image is None else read_picture(mask_image, "mask_image")
        asked = as_settings(settings, self.method_name)
        with self._working(GivenAdapters()) as studio:
            studio.given = GivenAdapters()  # a fit is the model's own
            return studio.fit([*read_pictures(image)], name, self.method_name, mask, **asked)

    def __call__(  # noqa: PLR0913 (diffusers' own names)
        self,
        prompt: str | None = None,
        image: PictureLike | list[PictureLike] | None = None,
        style: StyleChoice | None = None,
        mask_image: PictureLike | None = None,
        strength: float | str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        ip_adapter_image: PictureLike | None = None,
        control_image: PictureLike | None = None,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSORS,
        **settings: Any,
    ) -> StylizationOutput | tuple[list[Image.Image] | Array | Tensor]:
        """Put a style on one picture or a list of them.

        ``image`` is as in diffusers: PIL images, arrays or tensors (B, 3, H, W) in [0, 1]; paths too. So are all other
        pictures, of which there is one for all. ``style`` is what a Studio takes: a picture, a fitted style, "text:…",
        or several with weights. ``mask_image`` is white where the style goes. ``ip_adapter_image`` is another picture
        than the style's for an IP-Adapter to read, ``control_image`` the picture that a ControlNet follows;
        ``controlnet`` among the settings may be a folder or a ControlNetModel. What is None is the method's or the
        model's own; ``settings`` are the method's other settings. A seed is drawn for each picture from ``generator``
        (a list: one for each), without one from torch's global generator; it stands in the manifest. Raises a
        VelaturaError for what the caller can put right.
        """
        if image is None or style is None:
            raise SettingError("Give image= and style=: the picture, and a style picture or a fitted style.")
        check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        named = {"prompt": prompt, "negative_prompt": negative_prompt, "strength": strength}
        named |= {"steps": num_inference_steps, "guidance_scale": guidance_scale, **settings}
        asked, given = with_given(as_settings(named, self.method_name), ip_adapter_image, control_image)
        pictures, chosen = read_pictures(image), read_style(style)
        _check_form(output_type, pictures)
        check_control_of_one(asked, given, len(pictures))
        mask = None if mask_image is None else read_picture(mask_image, "mask_image")
        asked = sampler_settings(self.scheduler, self.method_name) | asked
        seeds = _seeds(len(pictures), generator)
        self._interrupt = False
        with self._working(given, callback_on_step_end) as studio:
            made = [
                self._made(studio, picture, chosen, mask, {**asked, "seed": seed})
                for picture, seed in zip(pictures, seeds, strict=True)
            ]
        images = _in_form([result.picture for result in made], output_type)
        return StylizationOutput(images, [result.manifest for result in made]) if return_dict else (images,)

    def _made(
        self, studio: Studio, picture: Picture, style: StyleChoice, mask: Picture | None, asked: Mapping[str, Any]
    ) -> Stylization:
        if mask is None:
            return studio.stylize_all([picture], style, method=self.method_name, **asked)[0]
        if isinstance(style, Mapping | list):
            raise SettingError("A region takes one style: leave mask_image out, or name one style.")
        regions: list[tuple[Image.Image, OneStyle]] = [(mask.image, style)]
        return studio.stylize_regions(picture, regions, method=self.method_name, **asked)


def _check_form(output_type: str, pictures: Sequence[Picture]) -> None:
    """Raise SettingError for a form that there is none of, and for pictures that do not go into it."""
    if output_type not in OUTPUT_TYPES:
        raise SettingError(f"The output_type must be {', '.join(OUTPUT_TYPES)}, not '{output_type}'.")
    if not pictures:
        raise SettingError("There is no picture in image: give at least one.")
    if output_type != "pil" and len({picture.size for picture in pictures}) > 1:
        raise SettingError("Pictures of several sizes do not go into one array: use output_type='pil'.")


def _seeds(count: int, generator: Generators) -> list[int]:
    """A seed for each picture, drawn from one generator in turn, or from its own."""
    given = [generator] * count if generator is None or isinstance(generator, torch.Generator) else generator
    if not isinstance(given, list | tuple) or not all(isinstance(each, torch.Generator | None) for each in given):
        raise SettingError(f"generator must be a torch.Generator, or a list of them, not {generator!r}.")
    if len(given) != count:
        raise SettingError(f"There are {len(given)} generators for {count} pictures: give one for each.")
    return [_seed(each) for each in given]


def _seed(generator: torch.Generator | None) -> int:
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(SEEDS, (1,), generator=generator, device=device))


def _in_form(pictures: list[Image.Image], output_type: str) -> list[Image.Image] | Array | Tensor:
    if output_type == "pil":
        return pictures
    array: Array = VaeImageProcessor.pil_to_numpy(pictures)
    return torch.from_numpy(array).permute(0, 3, 1, 2) if output_type == "pt" else array
