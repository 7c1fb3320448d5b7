"""Named starting points of loss-guided diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.errors import SettingError

# The poster: L = MSE + VGG + ZeCon + alpha CLIP + beta Gram, on the blend, through the UNet, with no help beside.
POSTER: Mapping[str, Any] = {
    "weights": {"mse_rgb": 1.0, "vgg_shallow": 0.5, "zecon": 0.2, "clip": 1.0, "gram": 2.0, "range": 1.0},
    "gradient": "unet",
    "look": "blend",
    "sight": 0,
    "window": 1.0,
    "palette": 0.0,
    "prompt": "",
    "force": 0.5,
}

# ZeCon's README: text-guided, ancestral sampling, half of 50 steps, raw weights.
ZECON: Mapping[str, Any] = {
    "weights": {
        "clip_patch": 10000.0,
        "clip_dir_patch": 20000.0,
        "zecon": 2500.0,  # 500 for each of five levels, whose mean ours takes
        "mse_rgb": 5000.0,
        "vgg_shallow": 100.0,
        "range": 50.0,
    },
    "gradient": "unet",
    "look": "blend",
    "sight": 0,
    "window": 1.0,
    "scale": "raw",
    "start": "noise",
    "steps": 50,
    "strength": 0.5,
    "sampler": "ddpm",
    "palette": 0.0,
    "prompt": "",
}

# The released code itself, on an ADM: its start, its losses, their raw weights.
ZECON_ORIGINAL: Mapping[str, Any] = {
    **ZECON,
    "weights": {**ZECON["weights"], "zecon": 500.0},
    "start": "inversion",
    "compat": "original",
}

PRESETS: Mapping[str, Mapping[str, Any]] = {"poster": POSTER, "zecon": ZECON, "zecon-original": ZECON_ORIGINAL}


def preset(name: str) -> Mapping[str, Any]:
    """The settings that a preset changes. Raises SettingError for an unknown one."""
    if name not in PRESETS:
        raise SettingError(f"Unknown preset '{name}': use {', '.join(PRESETS)}.")
    return PRESETS[name]
