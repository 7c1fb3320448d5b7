"""Refusing a working size that needs more memory than is free, before it is computed."""

from __future__ import annotations

import math

import psutil
import torch

from velatura.errors import SettingError
from velatura.models.backbone import Backbone
from velatura.models.house.backbone import HouseBackbone
from velatura.picture.sizing import MIN_SIDE

# How many times the memory of the house model others take for a pixel, at the least: Stable Diffusion's decoder has
# 128 channels at full size, an ADM as many and attention. Rather too low, so that what might fit is tried.
OTHER_MODELS = 12


def check_memory(size: tuple[int, int], house_bytes: int, backbone: Backbone) -> None:
    """Raise SettingError, naming the size that would fit, where a working ``size`` needs more memory than is free.

    ``size`` is (width, height), ``house_bytes`` what a run takes on the house model for each of its pixels.
    """
    free = free_memory(backbone.device)
    each = house_bytes * (1 if isinstance(backbone, HouseBackbone) else OTHER_MODELS)
    needed = size[0] * size[1] * each
    if needed <= free:
        return
    short, long = sorted(size)
    fitting = int(math.sqrt(free / each * short / long)) // backbone.multiple * backbone.multiple
    advice = f"give --size {fitting} or less" if fitting >= MIN_SIDE else "close other programs"
    raise SettingError(
        f"The working size {size[0]} x {size[1]} needs about {needed / 2**30:.1f} GiB of memory and "
        f"{free / 2**30:.1f} GiB are free: {advice}."
    )


def free_memory(device: torch.device) -> int:
    """The bytes that are free where a model computes."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return int(psutil.virtual_memory().available)
