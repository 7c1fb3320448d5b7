"""Published files as styles: embeddings of InST's program, LoRAs of DiffStyler's and other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from velatura.app.studio import Studio
from velatura.errors import ModelError
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.embeddings_file import read_published_embeddings
from velatura.models.backbone import ImageConditioned
from velatura.models.lora import read_lora
from velatura.picture import image_to_pixels, open_picture
from velatura.style import Style
from velatura.style.pictures import kept_image, picture_tensor


def imported_embeddings(file: Path, name: str, picture: Path | None, model: str) -> Style:
    """A published InST embedding file as a style; with its ``picture`` also the embedding that ``model`` gives it.

    The file does not say which weights it belongs to: only the width of its words is checked when it is used.
    Raises StyleError for another or a hostile file, ModelError where the picture is given and the model is not here or
    has no image encoder.
    """
    tensors = read_published_embeddings(file).tensors()
    card: dict[str, Any] = {"imported": file.name}
    if picture is not None:
        opened = open_picture(picture)
        backbone = Studio(model).backbone
        if not isinstance(backbone, ImageConditioned):
            raise ModelError(f"The model {model} has no image encoder: leave out --picture, or name another --model.")
        tensors |= {
            "embedding": backbone.encode_image(image_to_pixels(opened.image)),
            "picture.00": picture_tensor(kept_image(opened.image)),
        }
        card |= {"picture": opened.name, "sha256": opened.digest}
    return Style(name, S2PreST.style_method, model, "", tensors, card)


def imported_lora(file: Path, name: str, prompt: str, model: str) -> Style:
    """A LoRA file (diffusers', kohya's or the published trainer's) as a style that was fitted under ``prompt``.

    Whether it fits the base model is checked when it is used. Raises StyleError for another or a hostile file.
    """
    return Style(name, DiffStyler.style_method, model, "", read_lora(file), {"imported": file.name, "prompt": prompt})
