"""The kinds of models that can be loaded: how each is recognised, and what makes a backbone of it.

A new kind is one file with its backbone, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from velatura.errors import ModelError
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.adm.checkpoint import SHAPE_FILE, load_adm
from velatura.models.backbone import Backbone
from velatura.models.flux import FluxBackbone
from velatura.models.house.backbone import HouseBackbone
from velatura.models.latent import LatentBackbone
from velatura.models.sd3 import SD3Backbone


@dataclass(frozen=True)
class PipelineKind:
    """A kind of diffusers pipeline: the ``parts`` that it must have, each with its class or, for any class, None; the
    first is the denoising network.

    ``backbone`` is called with (pipeline, name, device, dtype, recommended_settings=…).
    """

    backbone: Callable[..., Backbone]
    parts: Mapping[str, str | None]

    def missing(self, pipeline: Any) -> list[str]:
        """The parts that a pipeline lacks, or has of another class."""
        return [name for name, kind in self.parts.items() if not _has(pipeline, name, kind)]


def _has(pipeline: Any, name: str, kind: str | None) -> bool:
    part = getattr(pipeline, name, None)
    # A pipeline's configuration, model_index.json, holds (library, class) of each part.
    return part is not None and (kind is None or pipeline.config[name][1] == kind)


def _load_adm(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> Backbone:
    unet, shape = load_adm(folder, dtype)
    return PixelBackbone(unet.to(device), shape, name, device, dtype)


# Folders that are no diffusers pipelines, by a file in them.
FOLDERS: Mapping[str, Callable[[Path, str, torch.device, torch.dtype], Backbone]] = {SHAPE_FILE: _load_adm}

TEXT_TO_IMAGE: Mapping[str, str | None] = {"vae": None, "text_encoder": None, "tokenizer": None}
FAMILIES = "Stable Diffusion's family (1.x, 2.x, XL, 3, 3.5) and FLUX.1"
SECOND_ENCODER: Mapping[str, str | None] = {"text_encoder_2": None, "tokenizer_2": None}
# The first that has all its parts is taken.
PIPELINES: tuple[PipelineKind, ...] = (
    PipelineKind(SD3Backbone, {"transformer": "SD3Transformer2DModel", **TEXT_TO_IMAGE, **SECOND_ENCODER}),
    PipelineKind(FluxBackbone, {"transformer": "FluxTransformer2DModel", **TEXT_TO_IMAGE, **SECOND_ENCODER}),
    PipelineKind(HouseBackbone, {"unet": None, **TEXT_TO_IMAGE, "image_encoder": "HouseImageEncoder"}),
    PipelineKind(LatentBackbone, {"unet": None, **TEXT_TO_IMAGE}),
)


def folder_loader(folder: Path) -> Callable[[Path, str, torch.device, torch.dtype], Backbone] | None:
    """What loads a folder that is no diffusers pipeline; None for any other place."""
    return next((load for file, load in FOLDERS.items() if (folder / file).is_file()), None)


def backbone_class(pipeline: Any, model: str) -> Callable[..., Backbone]:
    """The backbone of a loaded pipeline. Raises ModelError, naming what is missing, for one that is of no kind."""
    for kind in PIPELINES:
        if not kind.missing(pipeline):
            return kind.backbone
    own = [kind for kind in PIPELINES if next(iter(kind.parts)) not in kind.missing(pipeline)]
    missing = " and no ".join((own or PIPELINES)[-1].missing(pipeline))
    raise ModelError(
        f"The model {model}, a {type(pipeline).__name__}, has no {missing}: only {FAMILIES} work, with all their parts."
    )


def without_placeholders(pipeline: Any) -> None:
    """Set the parts of a pipeline to None that diffusers' ``from_pipe`` left as ``(None, None)``: it has none there."""
    for name, part in pipeline.components.items():
        if isinstance(part, tuple | list):
            setattr(pipeline, name, None)
