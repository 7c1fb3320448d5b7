"""What a result was computed with, for its manifest: one machine repeats itself, another may round differently."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from velatura.models.backbone import Backbone
from velatura.version import __version__

CPU_INFO = Path("/proc/cpuinfo")  # Linux only; its "model name" is more exact than the platform's


def computed_on(backbone: Backbone) -> dict[str, Any]:
    """Device, number format, processor and threads of a model's arithmetic."""
    device = backbone.device
    return {
        "device": device.type,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


@lru_cache(maxsize=1)
def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    """Versions of the packages that decide about the numbers, for manifests and cards."""
    return {
        "velatura": __version__,
        **{name: metadata.version(name) for name in ("torch", "diffusers", "transformers")},
    }
