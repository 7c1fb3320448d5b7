"""LoRA files of the usual trainers, read as adapters of one layout; and an adapter as a file for diffusers.

A UNet's are read in every layout, a transformer's in diffusers' present one (``transformer.….lora_A.weight``).

The layouts are kohya's (``lora_unet_….lora_down.weight`` with ``.alpha``), diffusers' former attention processors
(``unet.….processor.to_q_lora.down.weight``; the published DiffStyler trainer's too), diffusers' present one
(``unet.….lora_A.weight``, alphas in the header) and peft's (``base_model.model.….lora_A.weight``, alphas in the
``adapter_config.json`` beside the file).
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from velatura.errors import ModelError, StyleError, short_reason
from velatura.models.lora import DOWN, UP, of_one_rank

KOHYA = "lora_unet_"
KOHYA_ENTRIES = ("lora_down.weight", "lora_up.weight", "alpha")
PEFT = "base_model.model."
UNET, TRANSFORMER = NETWORKS = ("unet.", "transformer.")
TRANSFORMER_BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")  # a UNet's modules begin otherwise
HEADER = "lora_adapter_metadata"  # diffusers' entry in a safetensors header
# What trainers put beside a UNet's LoRA: text encoders' LoRAs, learned words.
BESIDE = re.compile(r"^(?:base_model\.model\.)?(?:lora_te|te\d?\.|text_encoder|text_model\.|bundle_emb|emb_params)")
PROCESSOR = re.compile(r"(?:\.processor)?\.(to_q|to_k|to_v|to_out)_lora\.(?=down|up|alpha)")
ENTRY = re.compile(r"^(.+)\.(?:lora_(A|B)(?:\.default)?\.weight|lora\.(down|up)(?:\.weight)?|(?:lora\.)?(alpha))$")

log = logging.getLogger("velatura")


@dataclass(frozen=True)
class Alphas:
    """What a file says of its scales beside the matrices: ``alpha`` (None: the rank), others in ``patterns`` by the
    end of a module's name; ``rooted``: alpha / sqrt(rank) instead of alpha / rank (rank-stabilised LoRA).
    """

    alpha: float | None = None
    patterns: Mapping[str, float] = field(default_factory=dict)
    rooted: bool = False

    def factor(self, module: str, rank: int, own: float | None = None) -> float:
        """The factor of a module's product of matrices; ``own`` is the alpha that the file keeps with them."""
        named = [alpha for end, alpha in self.patterns.items() if f".{module}".endswith(f".{end}")]
        alpha = next((value for value in (own, *named, self.alpha) if value is not None), None)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rooted and own is None else rank)


def read_lora(path: Path) -> dict[str, Tensor]:
    """The adapter in a LoRA file: ``MODULE.lora_A.weight`` (rank, in) and ``MODULE.lora_B.weight`` (out, rank), in
    which alpha / rank is contained, so that W + B A; pickles hold tensors only.

    A warning says how many entries belong to a text encoder and are left out. Raises StyleError for a file that is
    missing, damaged, hostile, no LoRA of a UNet, or of a kind that would act in part only (DoRA, LoHa, …).
    """
    raw = _tensors(path)
    own = {key: value for key, value in raw.items() if not BESIDE.match(key)}
    beside = len(raw) - len(own)
    try:
        alphas = _alphas(path, own)
    except (ValueError, TypeError, AttributeError) as error:
        raise StyleError(f"The alphas of {path} cannot be read ({error}): save the LoRA again.") from None
    if any(key.startswith(KOHYA) for key in own):
        own = _of_kohya(own, path)
    adapter = _adapter(own, alphas, path)
    if beside:
        log.warning(
            "%s also holds %d entries for a text encoder, which are left out: only its part for the UNet acts.",
            path.name,
            beside,
        )
    return adapter


def _tensors(path: Path) -> dict[str, Tensor]:
    from velatura.models.loading.single_file import read_state_dict

    if not path.is_file():
        raise StyleError(f"There is no LoRA file {path}: check the name.")
    try:
        return read_state_dict(path)
    except ModelError as error:
        raise StyleError(str(error)) from None


def _alphas(path: Path, raw: Mapping[str, Tensor]) -> Alphas:
    """What the file's header, or the adapter_config.json beside it, says. Raises ValueError and its like."""
    if any(key.startswith(PEFT) for key in raw):
        beside = path.with_name("adapter_config.json")
        if beside.is_file():
            return _alphas_of(json.loads(beside.read_text(encoding="utf-8")))
        log.warning(
            "There is no adapter_config.json beside %s: its alpha is taken to be its rank, so it may act too strongly "
            "or too weakly.",
            path.name,
        )
    if path.suffix != ".safetensors":
        return Alphas()
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
    own = {network: _under(network, header) for network in NETWORKS}
    return _alphas_of(next((entries for entries in own.values() if entries), {}))


def _under(network: str, header: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a header that are about a network, without its name."""
    return {key.removeprefix(network): value for key, value in header.items() if key.startswith(network)}


def _alphas_of(config: Mapping[str, Any]) -> Alphas:
    """The alphas of a peft LoraConfig's entries."""
    alpha, patterns = config.get("lora_alpha"), config.get("alpha_pattern") or {}
    ends = {key.lstrip("^"): float(value) for key, value in patterns.items()}
    unread = [key for key in ends if not re.fullmatch(r"[\w.]+", key)]
    if unread:
        raise ValueError(f"alpha_pattern '{unread[0][:60]}' is no module's name")
    return Alphas(None if alpha is None else float(alpha), ends, bool(config.get("use_rslora", False)))


def _of_kohya(raw: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """kohya's entries under diffusers' names, alpha / rank multiplied into the up matrices."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin

    _refuse_others([key for key in raw if key.partition(".")[2] not in KOHYA_ENTRIES], path)
    scaled: dict[str, Tensor] = {}
    for name in dict.fromkeys(key.partition(".")[0] for key in raw):
        down, up, alpha = (raw.get(f"{name}.{entry}") for entry in KOHYA_ENTRIES)
        if down is None or up is None or not down.ndim:
            raise _incomplete(path, name)
        own = None if alpha is None else float(alpha.reshape(-1)[0])
        scaled[f"{name}.lora_down.weight"] = down
        scaled[f"{name}.lora_up.weight"] = _times(up, Alphas().factor(name, down.shape[0], own))
    try:
        # Only SDXL's LoRAs have block numbers that depend on the number of layers, and that has two in each block.
        blocks = SimpleNamespace(layers_per_block=2)
        converted = StableDiffusionLoraLoaderMixin.lora_state_dict(scaled, unet_config=blocks)[0]
    except (ValueError, KeyError, IndexError) as error:
        reason = short_reason(error)
        raise StyleError(f"{path} names modules that no Stable Diffusion UNet has ({reason}).") from None
    return dict(converted)


def _adapter(raw: Mapping[str, Tensor], alphas: Alphas, path: Path) -> dict[str, Tensor]:
    found: dict[str, dict[str, Tensor]] = {}
    others = []
    for key, value in raw.items():
        bare = key.removeprefix(PEFT).removeprefix(UNET).removeprefix(TRANSFORMER)
        plain = PROCESSOR.sub(r".\1.lora.", bare).replace(".to_out.lora.", ".to_out.0.lora.")
        entry = ENTRY.match(plain)
        if entry is None:
            others.append(key)
            continue
        module, letter, side, _ = entry.groups()
        kind = {"A": "down", "B": "up"}.get(letter or "", side or "alpha")
        found.setdefault(module, {})[kind] = value
    if not any("down" in entries for entries in found.values()):
        raise StyleError(f"{path} holds no LoRA of a UNet: give a LoRA of Stable Diffusion.")
    _refuse_others(others, path)
    adapter: dict[str, Tensor] = {}
    for module, entries in found.items():
        down, up, alpha = (entries.get(kind) for kind in ("down", "up", "alpha"))
        if down is None or up is None or min(down.ndim, up.ndim) < 2 or down.shape[0] != up.shape[1]:
            raise _incomplete(path, module)
        own = None if alpha is None else float(alpha.reshape(-1)[0])
        adapter[module + DOWN] = down
        adapter[module + UP] = _times(up, alphas.factor(module, down.shape[0], own))
    return adapter


def _times(matrix: Tensor, factor: float) -> Tensor:
    """The product, in float32 where it is not the matrix itself."""
    return matrix if factor == 1 else matrix.float() * factor


def _refuse_others(keys: list[str], path: Path) -> None:
    """Raise StyleError where a file holds more than LoRA matrices: without the rest they would act wrongly."""
    if keys:
        raise StyleError(
            f"{path} holds {len(keys)} entries that are no plain LoRA's ('{keys[0][:120]}'), as DoRA, LoHa and LoKr "
            "have them: give a plain LoRA."
        )


def _incomplete(path: Path, module: str) -> StyleError:
    return StyleError(f"{path} is damaged ('{module[:120]}' lacks a matrix that fits its other): get it again.")


def save_lora(state: Mapping[str, Tensor], path: Path) -> None:
    """Write an adapter as diffusers' ``load_lora_weights`` reads it. Raises StyleError for a style without one."""
    from safetensors.torch import save_file

    from velatura.picture.writing import replacing

    matrices = {key: value for key, value in state.items() if key.endswith((DOWN, UP))}
    if not any(key.endswith(DOWN) for key in matrices) or min(value.ndim for value in matrices.values()) < 2:
        raise StyleError("This style holds no LoRA: fit one with --method diffstyler.")
    with replacing(path) as unfinished:
        # Of one rank, because earlier diffusers scale mixed ones wrongly where the file has no alphas.
        network = TRANSFORMER if all(key.startswith(TRANSFORMER_BLOCKS) for key in matrices) else UNET
        save_file({f"{network}{key}": value.contiguous() for key, value in of_one_rank(matrices).items()}, unfinished)
