"""What the custom diffusers pipelines share: diffusers' arguments around a Studio on the pipeline itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

# A folder of the house model names its own classes; diffusers takes them from imported modules only.
import velatura.models.house.autoencoder
import velatura.models.house.image_encoder  # noqa: F401
from velatura.app.pictures import PictureLike, as_picture
from velatura.app.studio import OneStyle, Studio, StyleChoice
from velatura.cache import Cache
from velatura.errors import SettingError
from velatura.methods.adapters.given import GivenAdapters
from velatura.methods.base import Stylization
from velatura.pipelines.given import with_given
from velatura.pipelines.ip_adapter import set_aside
from velatura.pipelines.progress import TENSORS, Callback, PipelineProgress, check_callback
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

    images: list[Image.Image] | np.ndarray[Any, Any] | Tensor
    manifests: list[Mapping[str, Any]]


class Stylizing:
    """A stock pipeline's counterpart that stylises: mixed in before it, so that loading, saving, offloading, LoRA and
    schedulers stay the stock pipeline's own. The work is a Studio's; ``method_name`` says by which method, and
    ``own_adapters`` whether that puts LoRA adapters of its own on the UNet.
    """

    method_name: ClassVar[str]
    own_adapters: ClassVar[bool] = False
    interrupt: bool
    components: Mapping[str, Any]
    scheduler: Any
    _kept: tuple[list[Any], str, Cache] | None = None  # the parts that the cache was filled with, and it

    def studio(self) -> Studio:
        """A Studio on this pipeline as it is now; what was computed before is kept only while no part was changed.

        Raises SettingError for LoRA that is loaded where the method brings its own.
        """
        self._check_adapters()
        studio = Studio(self)
        parts, fingerprint = list(self.components.values()), studio.backbone.fingerprint
        if self._has_adapters() or getattr(self, "num_fused_loras", False):
            studio.cache = Cache()  # adapters change the network without a trace in its own weights
            return studio
        kept = self._kept
        same = kept is not None and kept[1] == fingerprint and all(a is b for a, b in zip(kept[0], parts, strict=True))
        if kept is None or not same:
            self._kept = kept = (parts, fingerprint, studio.cache)
        studio.cache = kept[2]
        return studio

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
        with set_aside(self, GivenAdapters()):
            studio = self.studio()
            studio.progress = PipelineProgress(self, None)
            return studio.fit(image, name, self.method_name, mask_image, **settings)

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
    ) -> StylizationOutput | tuple[list[Image.Image] | np.ndarray[Any, Any] | Tensor]:
        """Put a style on one picture or a list of them.

        ``image`` is as in diffusers: PIL images, arrays in [0, 1] or tensors (B, 3, H, W) in [0, 1]; paths too.
        ``style`` is what a Studio takes: a picture, a fitted style, "text:…", or several with weights. ``mask_image``
        is white where the style goes. ``ip_adapter_image`` is another picture than the style's for an IP-Adapter to
        read, ``control_image`` the picture that a ControlNet follows; ``controlnet`` among the settings may be a folder
        or a ControlNetModel. What is None is the method's or the model's own; ``settings`` are the method's other
        settings. A seed is drawn from ``generator`` (a list: one for each picture), without one from torch's global
        generator; it stands in the manifest. Raises a VelaturaError for what the caller can put right.
        """
        if image is None or style is None:
            raise SettingError("Give image= and style=: the picture, and a style picture or a fitted style.")
        _check_form(output_type)
        check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        settings, given = with_given(settings, ip_adapter_image, control_image)
        named: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative_prompt, "strength": strength}
        named |= {"steps": num_inference_steps, "guidance_scale": guidance_scale, **settings}
        asked = sampler_settings(self.scheduler, self.method_name)
        asked |= {name: value for name, value in named.items() if value is not None}
        self._interrupt = False
        with set_aside(self, given) as adapters:
            studio = self.studio()
            studio.progress, studio.given = PipelineProgress(self, callback_on_step_end), adapters
            made = [
                result
                for pictures, seed in _seeded(_pictures(image), generator)
                for result in self._made(studio, pictures, style, mask_image, {**asked, "seed": seed})
            ]
        images = _in_form([result.picture for result in made], output_type)
        return StylizationOutput(images, [result.manifest for result in made]) if return_dict else (images,)

    def _made(
        self,
        studio: Studio,
        pictures: list[PictureLike],
        style: StyleChoice,
        mask_image: PictureLike | None,
        asked: Mapping[str, Any],
    ) -> list[Stylization]:
        if mask_image is None:
            return studio.stylize_all(pictures, style, method=self.method_name, **asked)
        if isinstance(style, Mapping | list):
            raise SettingError("A region takes one style: leave mask_image out, or name one style.")
        regions: list[tuple[Image.Image, OneStyle]] = [(as_picture(mask_image).image, style)]
        return [studio.stylize_regions(each, regions, method=self.method_name, **asked) for each in pictures]


def _check_form(output_type: str) -> None:
    if output_type not in OUTPUT_TYPES:
        raise SettingError(f"The output_type must be {', '.join(OUTPUT_TYPES)}, not '{output_type}'.")


def _pictures(image: PictureLike | list[PictureLike]) -> list[PictureLike]:
    """Pictures of what diffusers' pipelines take: a batch becomes a list, tensors in [0, 1] ones in [-1, 1]."""
    if isinstance(image, list):
        return [picture for each in image for picture in _pictures(each)]
    if isinstance(image, Tensor):
        rows = image if image.dim() == 4 else image[None]
        return [row.float() * 2 - 1 for row in rows]
    if isinstance(image, np.ndarray) and image.ndim == 4:
        return list(image)
    return [image]


def _seeded(pictures: list[PictureLike], generator: Generators) -> list[tuple[list[PictureLike], int]]:
    """The pictures of each run with its seed: one run of all, or with a list of generators one run of each."""
    if generator is None or isinstance(generator, torch.Generator):
        return [(pictures, _seed(generator))]
    if len(generator) != len(pictures):
        raise SettingError(f"There are {len(generator)} generators for {len(pictures)} pictures: give one for each.")
    return [([picture], _seed(each)) for picture, each in zip(pictures, generator, strict=True)]


def _seed(generator: torch.Generator | None) -> int:
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(SEEDS, (1,), generator=generator, device=device))


def _in_form(pictures: list[Image.Image], output_type: str) -> list[Image.Image] | np.ndarray[Any, Any] | Tensor:
    if output_type == "pil":
        return pictures
    if len({picture.size for picture in pictures}) > 1:
        raise SettingError("Pictures of several sizes do not go into one array: use output_type='pil'.")
    array: np.ndarray[Any, Any] = VaeImageProcessor.pil_to_numpy(pictures)
    return torch.from_numpy(array).permute(0, 3, 1, 2) if output_type == "pt" else array
