"""LoRA adapters on a UNet, attached and removed as a pair: afterwards the UNet is bit for bit what it was."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from velatura.errors import StyleError

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def attention_projections(unet: Any) -> list[str]:
    """The names of every attention's q, k, v and out projections, self- and cross-attention."""
    return [name for name, _ in unet.named_modules() if name.endswith(tuple(f".{part}" for part in PROJECTIONS))]


@contextmanager
def attached(unet: Any, adapters: Mapping[str, Mapping[str, Tensor]]) -> Iterator[None]:
    """While open, ``unet`` holds LoRA ``adapters`` by name, none of them in use (see ``using``).

    An adapter maps ``MODULE.lora_A.weight`` (rank, in) and ``MODULE.lora_B.weight`` (out, rank); W + B A, no alpha.
    Raises StyleError for one that does not fit the UNet.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    own = unet.state_dict(keep_vars=True)
    try:
        for name, state in adapters.items():
            targets = sorted({key.removesuffix(DOWN) for key in state if key.endswith(DOWN)})
            _check(own, targets, state, name)
            rank = state[targets[0] + DOWN].shape[0]
            with warnings.catch_warnings():
                # peft warns at a second adapter; several are meant.
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), adapter_name=name)
            matrices = {key: value.float() for key, value in state.items() if key.endswith((DOWN, UP))}
            set_peft_model_state_dict(unet, matrices, adapter_name=name)
        for key, value in unet.named_parameters():
            if "lora_" in key:
                value.data = value.data.to(unet.device, unet.dtype)
        with using(unet, None):
            yield
    finally:
        if getattr(unet, "peft_config", None):
            unet.unload_lora()


def _check(own: Mapping[str, Tensor], targets: list[str], state: Mapping[str, Tensor], name: str) -> None:
    if not targets:
        raise StyleError(f"The style '{name}' holds no LoRA: fit it again.")
    for target in targets:
        weight = own.get(f"{target}.weight", own.get(f"{target}.base_layer.weight"))
        down, up = state[target + DOWN], state.get(target + UP)
        if weight is None or up is None or (up.shape[0], down.shape[1]) != tuple(weight.shape[:2]):
            raise StyleError(
                f"The LoRA of the style '{name}' does not fit this base model ({target}): use its own model."
            )


@contextmanager
def using(unet: Any, name: str | None) -> Iterator[None]:
    """While open, the adapter ``name`` is in use, or none of them."""
    if not getattr(unet, "peft_config", None):
        yield
        return
    if name is None:
        unet.disable_adapters()
    else:
        unet.enable_adapters()
        unet.set_adapter(name)
    try:
        yield
    finally:
        unet.disable_adapters()


def fresh_adapter(unet: Any, rank: int, generator: torch.Generator) -> dict[str, Tensor]:
    """An adapter that changes nothing yet: A normal with deviation 1 / rank, B zero."""
    state: dict[str, Tensor] = {}
    weights = dict(unet.named_parameters())
    for target in attention_projections(unet):
        out, into = weights[f"{target}.weight"].shape[:2]
        state[target + DOWN] = torch.randn(rank, into, generator=generator) / rank
        state[target + UP] = torch.zeros(out, rank)
    return state


def save_lora(state: Mapping[str, Tensor], path: Path) -> None:
    """Write an adapter as diffusers' ``load_lora_weights`` reads it. Raises StyleError for a style without one."""
    from safetensors.torch import save_file

    from velatura.picture.writing import replacing

    if not any(key.endswith(DOWN) for key in state):
        raise StyleError("This style holds no LoRA: fit one with --method diffstyler.")
    with replacing(path) as unfinished:
        matrices = {key: value for key, value in state.items() if key.endswith((DOWN, UP))}
        save_file({f"unet.{key}": value.contiguous() for key, value in matrices.items()}, unfinished)


PROCESSOR = re.compile(r"^(?:unet\.)?(.*)\.processor\.(to_(?:q|k|v|out))_lora\.(down|up)(?:\.weight)?$")
PLAIN = re.compile(r"^(?:unet\.)?(.*)\.(?:lora_(A|B)|lora\.(down|up))\.weight$")


def read_lora(path: Path) -> dict[str, Tensor]:
    """An adapter from peft's, diffusers', the published trainer's or kohya's keys; pickles hold tensors only.

    Raises StyleError for a file that is missing, damaged, hostile, or no LoRA of a UNet.
    """
    from velatura.errors import ModelError
    from velatura.models.loading.single_file import read_state_dict

    if not path.is_file():
        raise StyleError(f"There is no LoRA file {path}: check the name.")
    try:
        raw = read_state_dict(path)
    except ModelError as error:
        raise StyleError(f"{error} It was not imported.") from None
    if any(key.startswith("lora_unet_") for key in raw):
        raw = _of_kohya(raw)
    state: dict[str, Tensor] = {}
    for key, value in raw.items():
        if found := PROCESSOR.match(key):
            module, projection, side = found.groups()
            name = f"{module}.{projection}{'.0' if projection == 'to_out' else ''}"
            state[name + (DOWN if side == "down" else UP)] = value
        elif found := PLAIN.match(key):
            module, letter, side = found.groups()
            state[module + (DOWN if letter == "A" or side == "down" else UP)] = value
    if not any(key.endswith(DOWN) for key in state):
        raise StyleError(f"{path} holds no LoRA of a UNet: give a LoRA of Stable Diffusion.")
    return state


def _of_kohya(raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """kohya's keys as diffusers', with alpha / rank multiplied into the up matrices."""
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers

    converted, alphas = _convert_non_diffusers_lora_to_diffusers(dict(raw))
    scaled: dict[str, Tensor] = {}
    for key, value in converted.items():
        alpha = (alphas or {}).get(re.sub(r"\.(?:lora\.)?(?:down|up|lora_A|lora_B)\.weight$", ".alpha", key))
        rank = value.shape[1]
        raises = ".up." in key or ".lora_B." in key
        scaled[key] = value * (float(alpha) / rank) if raises and alpha is not None else value
    return scaled
