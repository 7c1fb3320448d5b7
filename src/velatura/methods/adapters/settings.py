"""Settings of adapters beside the model, which every method on a latent model with a UNet has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar

from velatura.methods.validation import Choices, Range, Share
from velatura.models.adapters.blocks import ALL, BLOCKS
from velatura.span import Span

ADAPTER_FILES = (
    "ip_adapter",
    "ip_adapter_encoder",
    "ip_adapter_image",
    "controlnet",
    "step_lora",
)  # settings that are paths
IP_ADAPTER_DETAILS = ("ip_adapter_encoder", "ip_adapter_image", "ip_adapter_scale", "ip_adapter_blocks")
CONTROL_DETAILS = ("control", "control_scale", "control_start", "control_end")


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of adapters beside the model, which is left as it is.

    ``ip_adapter`` is an IP-Adapter's file or the folder of it: the style picture becomes further words of the prompt.
    ``ip_adapter_encoder`` is the folder of its image encoder (empty: "image_encoder" beside the file).
    ``ip_adapter_image`` is another picture to read than the style's.
    ``ip_adapter_scale`` is how much it counts (0: not at all).
    ``ip_adapter_blocks`` says where: "all" blocks, or those that InstantStyle found to hold the "style", the "layout"
    or both ("style+layout").
    ``controlnet`` is the folder of a ControlNet, which holds the photo's forms.
    ``control`` is what it follows: the photo's edges ("canny" or "hed"), or the path of a picture, as of depth.
    ``control_scale`` is how much it counts (0: not at all).
    ``control_start`` is the share of the run (0..1) from which it acts.
    ``control_end`` is the share of the run (0..1) up to which it acts.
    ``step_lora`` is the file of a LoRA for few steps, LCM's or Lightning's.
    """

    to_start_from_noise: ClassVar[str] = ""  # the setting with which a method does without an inversion

    ip_adapter: str = field(default="", kw_only=True)
    ip_adapter_encoder: str = field(default="", kw_only=True)
    ip_adapter_image: str = field(default="", kw_only=True)
    ip_adapter_scale: Annotated[float, Range(0, 5)] = field(default=1.0, kw_only=True)
    ip_adapter_blocks: Annotated[str, Choices(BLOCKS)] = field(default=ALL, kw_only=True)
    controlnet: str = field(default="", kw_only=True)
    control: str = field(default="canny", kw_only=True)
    control_scale: Annotated[float, Range(0, 5)] = field(default=1.0, kw_only=True)
    control_start: Share = field(default=0.0, kw_only=True)
    control_end: Share = field(default=1.0, kw_only=True)
    step_lora: str = field(default="", kw_only=True)

    @property
    def inverts(self) -> bool:
        """Whether the run starts from an inversion of the photo, which must lead back to it."""
        return False

    @property
    def control_span(self) -> Span:
        """The part of a run in which the ControlNet acts."""
        return Span(self.control_start, self.control_end)


ADAPTERS = tuple(each.name for each in fields(AdapterSettings))
