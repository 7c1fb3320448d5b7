"""IP-Adapter: a picture as further words of the prompt (Ye et al. 2023, arXiv 2308.06721).

Each cross-attention gets keys and values of the picture's tokens beside those of the text; diffusers' attention
processors compute it, and diffusers' own loader reads it. The UNet holds them during a call only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from velatura.errors import ModelError, short_reason
from velatura.models.adapters.blocks import block_scales
from velatura.models.adapters.ip_adapter_files import Weights
from velatura.models.adapters.picture_encoder import PictureEncoder
from velatura.models.adapters.weights import check_finite, digest_of
from velatura.models.loading.library_logging import quiet_libraries
from velatura.models.unet_call import UNetCall

KIND = "ip_image_proj"  # of the UNet's projection, as diffusers' loader leaves it
ONE_AT_A_TIME = "IP-Adapters are taken one at a time: load only one, or unload it and name one with ip_adapter."


@dataclass(frozen=True, eq=False)
class IPAdapter:
    """An IP-Adapter made for one UNet: its attention ``processors`` by name, the ``projection`` of image embeddings to
    tokens, and the image ``encoder``; its ``fingerprint`` is of all weights of both.
    """

    source: str
    processors: Mapping[str, Any]
    projection: Any
    encoder: PictureEncoder
    fingerprint: str = ""

    @torch.no_grad()
    def tokens(self, pictures: Sequence[tuple[Image.Image, float]]) -> Tensor:
        """The tokens (1, 1, n, W) of the weighted mean of the embeddings of ``pictures``, given with their shares."""
        from diffusers.models.embeddings import ImageProjection

        hidden = not isinstance(self.projection.image_projection_layers[0], ImageProjection)
        total = sum(share for _, share in pictures)
        parts = [share / total * self.encoder(image, hidden) for image, share in pictures]
        embedding = torch.stack(parts).sum(0)
        like = next(self.projection.parameters())
        tokens: Tensor = self.projection([embedding[:, None].to(like)])[0]
        return tokens

    def scales(self, unet: Any, scale: float, blocks: str) -> dict[str, float]:
        """``scale`` in the cross-attentions of the ``blocks``, 0 in others, by name.

        Raises ModelError for blocks that the UNet does not have.
        """
        return block_scales(unet, self.processors, scale, blocks)

    def prompt(self, pictures: Sequence[tuple[Image.Image, float]], scales: Mapping[str, float]) -> PicturePrompt:
        """``pictures``, with their shares, as words that each attention hears at its scale."""
        return PicturePrompt(self.processors, self.tokens(pictures), scales, self.fingerprint)


@dataclass(frozen=True, eq=False)
class PicturePrompt:
    """Pictures as words of a UNet's calls: their ``tokens`` (1, 1, n, W), and each attention's ``scales``."""

    processors: Mapping[str, Any]
    tokens: Tensor
    scales: Mapping[str, float]
    fingerprint: str  # of the adapter

    @contextmanager
    def acting(self, unet: Any, call: UNetCall) -> Iterator[UNetCall]:
        """While open, the UNet's cross-attentions take tokens beside the text states, as yielded."""
        for name, processor in self.processors.items():
            processor.scale = [self.scales[name]]
        tokens = self.tokens.to(call.states).expand(len(call.latents), -1, -1, -1)
        with with_processors(unet, self.processors):
            yield replace(call, tokens=tokens)


@contextmanager
def with_processors(unet: Any, processors: Mapping[str, Any]) -> Iterator[None]:
    """While open, the attentions named in ``processors`` compute with those; then with their own again."""
    attentions = {name: unet.get_submodule(name) for name in processors}
    before = {name: attention.processor for name, attention in attentions.items()}
    try:
        for name, attention in attentions.items():
            attention.set_processor(processors[name])
        yield
    finally:
        for name, attention in attentions.items():
            attention.set_processor(before[name])


def make_ip_adapter(weights: Weights, unet: Any, encoder: PictureEncoder) -> IPAdapter:
    """The IP-Adapter of a file's ``weights`` for ``unet``, by diffusers' loader, frozen; the UNet stays as it was.

    Raises ModelError for weights of another family of models, and for an encoder of another width.
    """
    if unet.device.type == "meta":
        raise ModelError("An IP-Adapter cannot join a UNet that is offloaded layer by layer: use model offload.")
    weights.check_fits(unet)
    weights.check_encoder(encoder)
    with _as_it_was(unet):
        try:
            with quiet_libraries():
                _loader(unet).load_ip_adapter(
                    [weights.parts()], subfolder="", weight_name="", image_encoder_folder=None
                )
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"The IP-Adapter {weights.source} does not fit this model ({short_reason(error)})."
            ) from None
        adapter = ip_adapter_of(unet, weights.source, encoder)
    return adapter


def ip_adapter_of(unet: Any, source: str, encoder: PictureEncoder) -> IPAdapter:
    """The IP-Adapter that diffusers has loaded onto ``unet``, called ``source`` in sentences.

    Raises ModelError for several, and for weights that are not finite.
    """
    projection = unet.encoder_hid_proj
    if projection.num_ip_adapters != 1:
        raise ModelError(ONE_AT_A_TIME)
    projection.requires_grad_(False).eval()
    processors = {
        name.removesuffix(".processor"): processor.requires_grad_(False)
        for name, processor in unet.attn_processors.items()
        if hasattr(processor, "to_k_ip")
    }
    parts = {"projection": projection, **processors}
    weights = {f"{part}.{name}": value for part, own in parts.items() for name, value in own.state_dict().items()}
    check_finite(weights, f"The IP-Adapter {source}")
    return IPAdapter(source, processors, projection, encoder, digest_of(weights))


def is_loaded(unet: Any) -> bool:
    """Whether diffusers' loader has put an IP-Adapter on ``unet``."""
    return getattr(unet.config, "encoder_hid_dim_type", None) == KIND


@contextmanager
def taken_off(unet: Any) -> Iterator[None]:
    """While open, ``unet`` is without the IP-Adapter that diffusers' loader has put on it; then it has it again."""
    names = [name for name, processor in unet.attn_processors.items() if hasattr(processor, "to_k_ip")]
    own = next(type(each) for name, each in unet.attn_processors.items() if name not in names)
    with _as_it_was(unet):
        unet.encoder_hid_proj = None
        unet.config.encoder_hid_dim_type = None
        with with_processors(unet, {name.removesuffix(".processor"): own() for name in names}):
            yield


@contextmanager
def _as_it_was(unet: Any) -> Iterator[None]:
    """Afterwards the UNet's attention processors and its projection of image embeddings are those of before."""
    processors, projection = dict(unet.attn_processors), unet.encoder_hid_proj
    kind = unet.config.encoder_hid_dim_type
    try:
        yield
    finally:
        unet.encoder_hid_proj = None
        del unet.encoder_hid_proj  # a module's place; what it was before may be a plain attribute
        unet.encoder_hid_proj = projection
        # After the projection, because one with attentions of its own (Plus) has processors among these.
        unet.set_attn_processor(processors)
        unet.config.encoder_hid_dim_type = kind


def _loader(unet: Any) -> Any:
    """diffusers' loader of IP-Adapters, on a UNet alone."""
    from diffusers.loaders import IPAdapterMixin

    class UNetLoader(IPAdapterMixin):  # type: ignore[misc]
        def __init__(self) -> None:
            self.unet = unet

    return UNetLoader()
