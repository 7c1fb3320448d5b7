"""Published files as styles: embeddings of InST's program, LoRAs of DiffStyler's and other trainers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from velatura.app.studio import Studio
from velatura.errors import ModelError
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.embeddings_file import read_published_module
from velatura.models.backbone import ImageConditioned
from velatura.models.loading.unet_shapes import unet_shapes
from velatura.models.lora import check_adapter
from velatura.models.lora_files import read_lora
from velatura.picture import image_to_pixels, open_picture
from velatura.style import Style
from velatura.style.pictures import picture_tensor

log = logging.getLogger("velatura")


def imported_embeddings(file: Path, name: str, picture: Path | None, model: str) -> Style:
    """A published InST embedding file as a style; with its ``picture`` also the embedding that ``model`` gives it.

    The file does not say which weights it belongs to: only the width of its words is checked when it is used.
    Raises StyleError for another or a hostile file, ModelError where the picture is given and the model is not here or
    has no image encoder.
    """
    module = read_published_module(file)
    tensors = module.word_map().tensors() | module.tensors()
    card: dict[str, Any] = {"imported": file.name}
    if picture is not None:
        opened = open_picture(picture)
        backbone = Studio(model).backbone
        if not isinstance(backbone, ImageConditioned):
            raise ModelError(f"The model {model} has no image encoder: leave out --picture, or name another --model.")
        tensors |= {
            "embedding": backbone.encode_image(image_to_pixels(opened.image)),
            # As it is: the published program scales the original, and a scaled one gives another latent.
            "picture.00": picture_tensor(opened.image),
        }
        card |= {"picture": opened.name, "sha256": opened.digest}
    return Style(name, S2PreST.style_method, model, "", tensors, card)


def imported_lora(file: Path, name: str, prompt: str, model: str) -> Style:
    """A LoRA file (diffusers', kohya's or the published trainer's) as a style that was fitted under ``prompt``.

    Whether it fits the base model is checked now where the model's configuration is on this machine, else when it is
    used. Raises StyleError for another or a hostile file, and for a LoRA that does not fit.
    """
    adapter, shapes = read_lora(file), unet_shapes(model)
    if shapes is None:
        log.warning(
            "The UNet of the model %s is not here: whether '%s' fits it is checked when it is used.", model, name
        )
    else:
        check_adapter(adapter, shapes, name, f"the model {model}")
    return Style(name, DiffStyler.style_method, model, "", adapter, {"imported": file.name, "prompt": prompt})
