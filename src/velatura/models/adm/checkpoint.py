"""Conversion of OpenAI's released ADM checkpoints from their original key layout to a folder of safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.adm.architecture import AdmShape, build_adm

SHAPE_FILE, WEIGHTS_FILE = "adm.json", "unet.safetensors"
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def shape_of(state: Mapping[str, Tensor], **given: Any) -> AdmShape:
    """The shape of original weights; the fields ``given`` (head_channels, attention_order, …) are taken as they are.

    Heads, the order of q, k and v, the schedule and the picture size do not show in weights: they default to those of
    OpenAI's 256 px, 512 px and the FFHQ checkpoints. Raises ModelError for weights of another architecture.
    """
    try:
        width = state["time_embed.0.weight"].shape[1]
        inputs = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("input_blocks."))
        doubled = [
            index
            for index in range(inputs)
            for last in (1, 2)
            if f"output_blocks.{index}.{last}.in_layers.0.weight" in state
        ]
        per_level = doubled[0] + 1 if doubled else inputs
        levels = inputs // per_level
        if inputs % per_level or "out.2.weight" not in state or state["out.2.weight"].shape[0] != 6:
            raise KeyError("levels")
        firsts = [1 + level * per_level for level in range(levels)]
        channels = [state[f"input_blocks.{first}.0.out_layers.3.weight"].shape[0] for first in firsts]
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise ModelError(
            "These are not the weights of an ADM with residual resampling and learned variance: give one of OpenAI's "
            "guided-diffusion files, whose keys begin with time_embed, input_blocks, middle_block, output_blocks, out."
        ) from None
    found = {
        "image_size": 2 ** (levels + 2),
        "width": width,
        "multipliers": tuple(c / width for c in channels),
        "residual_blocks": per_level - 1,
        "attention_levels": tuple(
            level for level, first in enumerate(firsts) if f"input_blocks.{first}.1.qkv.weight" in state
        ),
        "classes": state["label_emb.weight"].shape[0] if "label_emb.weight" in state else 0,
    }
    return AdmShape(**{**found, **given})


def _modules(shape: AdmShape) -> dict[str, str]:
    """The place in UNet2DModel of each original block, by the original name."""
    levels, deep = len(shape.multipliers), shape.residual_blocks
    places = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0"}
    places["middle_block.2"] = "mid_block.resnets.1"
    index = 1
    for level in range(levels):
        for block in range(deep):
            places[f"input_blocks.{index}.0"] = f"down_blocks.{level}.resnets.{block}"
            places[f"input_blocks.{index}.1"] = f"down_blocks.{level}.attentions.{block}"
            index += 1
        if level + 1 < levels:
            places[f"input_blocks.{index}.0"] = f"down_blocks.{level}.downsamplers.0"
            index += 1
    index = 0
    for up in range(levels):
        level = levels - 1 - up
        attends = level in shape.attention_levels
        for block in range(deep + 1):
            places[f"output_blocks.{index}.0"] = f"up_blocks.{up}.resnets.{block}"
            if attends:
                places[f"output_blocks.{index}.1"] = f"up_blocks.{up}.attentions.{block}"
            if level and block == deep:
                places[f"output_blocks.{index}.{2 if attends else 1}"] = f"up_blocks.{up}.upsamplers.0"
            index += 1
    return places


def _of_attention(shape: AdmShape, place: str, part: str, kind: str, value: Tensor) -> dict[str, Tensor]:
    """An attention's weights with q, k and v apart: the legacy order interleaves them by heads, the new does not."""
    value = value.squeeze(-1) if value.dim() == 3 else value
    if part != "qkv":
        return {f"{place}.{'group_norm' if part == 'norm' else 'to_out.0'}.{kind}": value}
    if shape.attention_order == "legacy":
        width = value.shape[0] // 3
        heads = shape.heads or width // shape.head_channels
        value = value.reshape(heads, 3, width // heads, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
    return {f"{place}.to_{name}.{kind}": part for name, part in zip("qkv", value.chunk(3), strict=True)}


def converted(state: Mapping[str, Tensor], shape: AdmShape) -> dict[str, Tensor]:
    """Original weights under UNet2DModel's names, in their stored number formats.

    Raises ModelError naming the first key that has no place.
    """
    places, found = _modules(shape), dict[str, Tensor]()
    for key, value in state.items():
        module, _, kind = key.rpartition(".")
        if module in ENDS:
            found[f"{ENDS[module]}.{kind}"] = value
            continue
        match = re.fullmatch(r"((?:input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+)\.(.+)", module)
        place = places.get(match[1]) if match else None
        if match is None or place is None:
            raise ModelError(f"'{key}' has no place in an ADM of this shape: is it another kind of checkpoint?")
        if match[2] in RESIDUAL:
            found[f"{place}.{RESIDUAL[match[2]]}.{kind}"] = value
        elif match[2] in ("norm", "qkv", "proj_out"):
            found |= _of_attention(shape, place, match[2], kind, value)
        else:
            raise ModelError(f"'{key}' has no place in an ADM of this shape: is it another kind of checkpoint?")
    return found


def fitting_weights(state: Mapping[str, Tensor], shape: AdmShape) -> dict[str, Tensor]:
    """``converted`` weights that are those of a network of ``shape``, all of them and no others.

    Raises ModelError naming a key that is missing, foreign or of another size.
    """
    with torch.device("meta"):
        wanted = build_adm(shape).state_dict()
    weights = converted(state, shape)
    wrong = sorted((wanted.keys() ^ weights.keys()) or {k for k in wanted if wanted[k].shape != weights[k].shape})
    if wrong:
        what = (
            "is missing" if wrong[0] not in weights else "is foreign" if wrong[0] not in wanted else "has another size"
        )
        raise ModelError(f"The checkpoint does not fit: {wrong[0]} {what} ({len(wrong)} such). Is the file whole?")
    return weights


def adm_of_state(state: Mapping[str, Tensor], shape: AdmShape) -> Any:
    """The network with original weights, frozen, float32. Raises ModelError for weights that do not fit."""
    unet, weights = build_adm(shape), fitting_weights(state, shape)
    unet.load_state_dict(weights)
    return unet.requires_grad_(False).eval()


def save_adm(weights: Mapping[str, Tensor], shape: AdmShape, folder: Path) -> None:
    """Write ``adm.json`` and ``unet.safetensors``, in the number formats of the ``weights``; either both or nothing."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{WEIGHTS_FILE}.part"
    try:
        save_file({key: value.contiguous().clone() for key, value in weights.items()}, unfinished)
        (folder / SHAPE_FILE).write_text(json.dumps(shape.as_dict(), indent=1) + "\n")
        unfinished.replace(folder / WEIGHTS_FILE)
    finally:
        unfinished.unlink(missing_ok=True)


def load_adm(folder: Path, dtype: torch.dtype) -> tuple[Any, AdmShape]:
    """The network, frozen, and the shape of a folder that ``save_adm`` wrote. Raises ModelError for a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        shape = AdmShape.of_dict(json.loads((folder / SHAPE_FILE).read_text()))
        unet = build_adm(shape)
        unet.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"The model in {folder} cannot be loaded ({str(error).splitlines()[0]}): convert it again with "
            "velatura models convert."
        ) from None
    return unet.to(dtype).requires_grad_(False).eval(), shape
