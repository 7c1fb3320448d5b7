"""Named settings of loss-guided diffusion: after its two sources, and for little time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The poster: L = MSE + VGG + ZeCon + alpha CLIP + beta Gram, on the blend of x0 and x_t, through the UNet, and with
# neither colour transport nor prompt.
POSTER: Mapping[str, Any] = {
    "weights": {"mse_rgb": 1.0, "vgg_shallow": 0.5, "zecon": 0.2, "clip": 1.0, "gram": 2.0, "range": 1.0},
    "start": "inversion",
    "gradient": "unet",
    "loss_input": "blend",
    "loss_resolution": 0,
    "crop": 1.0,
    "palette": 0.0,
    "contrast": 0.0,
    "sharpness": 0.0,
    "flat_push": 1.0,
    "prompt": "",
    "guidance_rms": 0.5,
}

# ZeCon's README: text-guided, ancestral sampling, half of 50 steps, raw weights (on a latent model they
# would destroy the picture: there only their ratios count).
ZECON: Mapping[str, Any] = {
    "weights": {
        "clip_patch": 10000.0,
        "clip_dir_patch": 20000.0,
        "zecon": 2500.0,  # 500 for each of five levels: the loss here is their mean, ZeCon's their sum
        "mse_rgb": 5000.0,
        "vgg_shallow": 100.0,
        "range": 50.0,
    },
    "gradient": "unet",
    "loss_input": "blend",
    "loss_resolution": 0,
    "crop": 1.0,
    "gradient_scale": "auto",
    "start": "noise",
    "steps": 50,
    "strength": 0.5,
    "sampler": "ddpm",
    "palette": 0.0,
    "contrast": 0.0,
    "sharpness": 0.0,
    "flat_push": 1.0,
    "prompt": "",
}

# Three pushes on what the fast method paints, with more of its strokes than ten pushes need.
QUICK: Mapping[str, Any] = {
    "start": "fast",
    "strokes": 0.65,
    "steps": 12,
    "guidance_scale": 1.0,
    "guidance_rms": 0.45,
}

PRESETS: Mapping[str, Mapping[str, Any]] = {"poster": POSTER, "zecon": ZECON, "quick": QUICK}
