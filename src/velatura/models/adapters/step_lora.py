"""A LoRA that makes a model paint in few steps: LCM (Luo et al. 2023, arXiv 2311.05556) or Lightning (Lin et al. 2024,
arXiv 2402.13929).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from velatura.errors import ModelError, StyleError
from velatura.models.lora import attached, check_adapter, using, weight_shapes
from velatura.models.unet_call import UNetCall

NAME = "few_steps"


class StepLora:
    """The LoRA of ``step_lora_on``, in use in the calls that it joins."""

    @contextmanager
    def acting(self, unet: Any, call: UNetCall) -> Iterator[UNetCall]:
        """While open, the LoRA is in use."""
        with using(unet, NAME):
            yield call


@contextmanager
def step_lora_on(unet: Any, adapter: Mapping[str, Tensor], source: str) -> Iterator[StepLora]:
    """While open, ``unet`` holds an ``adapter`` called ``source``, in use only where what is yielded joins a call.

    Raises ModelError for an adapter that does not fit, and beside other LoRAs.
    """
    check_step_lora(unet, adapter, source)
    with attached(unet, {NAME: adapter}):
        yield StepLora()


def check_step_lora(unet: Any, adapter: Mapping[str, Tensor], source: str) -> None:
    """Raise ModelError for an ``adapter`` called ``source`` that does not fit ``unet``, and beside other LoRAs."""
    if getattr(unet, "peft_config", None):
        raise ModelError(
            "A LoRA is loaded on the model already: unload it, or leave step_lora out and load that beside it."
        )
    try:
        check_adapter(adapter, weight_shapes(unet), source, "this model")
    except StyleError:
        raise ModelError(
            f"The LoRA {source} was made for another model: use one for Stable Diffusion 1.x with that, and one for "
            "SDXL with SDXL."
        ) from None
