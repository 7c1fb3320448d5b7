"""The image encoder of an IP-Adapter: a CLIP vision tower from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.encoders.clip import middle_square, prepared
from velatura.models.loading.failing import load_reason
from velatura.models.loading.library_logging import quiet_libraries


class PictureEncoder:
    """A frozen CLIP vision tower with its projection, in float32."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self.network, self.device = network.requires_grad_(False).eval(), device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> PictureEncoder:
        """The encoder in a folder of transformers. Raises ModelError where it cannot be read."""
        from transformers import CLIPVisionModelWithProjection

        try:
            with quiet_libraries():
                network = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise ModelError(f"The image encoder in {folder} cannot be loaded: {load_reason(error)}.") from None
        return cls(network.to(device, torch.float32), device)

    @torch.no_grad()
    def __call__(self, image: Image.Image, hidden: bool) -> Tensor:
        """The embedding (1, E) of an image's middle square, not normalised; with ``hidden`` the outputs (1, n, D) of
        the last layer but one.
        """
        side = self.network.config.image_size
        pixels = prepared(middle_square(image.convert("RGB"), side).to(self.device)).to(self.network.dtype)
        if hidden:
            states: Tensor = self.network(pixels, output_hidden_states=True).hidden_states[-2]
            return states.float()
        embedding: Tensor = self.network(pixels).image_embeds
        return embedding.float()

    def width(self, hidden: bool) -> int:
        """The numbers of an embedding, or of each of the ``hidden`` states."""
        config = self.network.config
        return int(config.hidden_size if hidden else config.projection_dim)
