"""LoRA adapters on a UNet, attached and removed as a pair: afterwards the UNet is bit for bit what it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

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

    # Asked once, and before adapters are there: each walks through all modules.
    shapes, device, dtype = weight_shapes(unet), unet.device, unet.dtype
    try:
        for name, state in adapters.items():
            check_adapter(state, shapes, name, "this base model")
            matrices = of_one_rank({key: value.float() for key, value in state.items() if key.endswith((DOWN, UP))})
            targets = _modules(matrices)
            rank = matrices[targets[0] + DOWN].shape[0]
            with warnings.catch_warnings():
                # peft warns at a second adapter; several are meant.
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), adapter_name=name)
            set_peft_model_state_dict(unet, matrices, adapter_name=name)
        for key, value in unet.named_parameters():
            if "lora_" in key:
                value.data = value.data.to(device, dtype)
        with using(unet, None):
            yield
    finally:
        if getattr(unet, "peft_config", None):
            unet.unload_lora()


def _modules(state: Mapping[str, Tensor]) -> list[str]:
    return sorted({key.removesuffix(DOWN) for key in state if key.endswith(DOWN)})


def of_one_rank(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices whose ranks are all the largest of them, zeros in what is added: their products stay what they were."""
    most = max(state[module + DOWN].shape[0] for module in _modules(state))
    return {key: _widened(value, 0 if key.endswith(DOWN) else 1, most) for key, value in state.items()}


def _widened(matrix: Tensor, dimension: int, length: int) -> Tensor:
    missing = length - matrix.shape[dimension]
    after_it = [0, 0] * (matrix.ndim - 1 - dimension)
    return F.pad(matrix, [*after_it, 0, missing]) if missing else matrix


def weight_shapes(unet: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every module's weight by the module's name, whatever adapters are attached."""
    weights = {name.removesuffix(".weight"): value for name, value in unet.named_parameters() if ".lora_" not in name}
    return {name.removesuffix(".base_layer"): tuple(weight.shape) for name, weight in weights.items()}


def check_adapter(state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], style: str, model: str) -> None:
    """Raise StyleError, naming ``style`` and ``model``, for an adapter that does not fit a UNet's weight ``shapes``."""
    modules = _modules(state)
    if not modules:
        raise StyleError(f"The style '{style}' holds no LoRA: fit it again.")
    for module in modules:
        if not _fits(state[module + DOWN], state.get(module + UP), shapes.get(module, ())):
            raise StyleError(
                f"The LoRA of the style '{style}' does not fit {model} ({module}): use the model it was trained on."
            )


def _fits(down: Tensor, up: Tensor | None, shape: Sequence[int]) -> bool:
    """Whether the product of two matrices can be added to a weight: a linear layer's or a convolution's."""
    if up is None or len(shape) < 2 or not len(shape) == down.ndim == up.ndim:
        return False
    rank = down.shape[0]
    return tuple(up.shape) == (shape[0], rank, *[1] * (up.ndim - 2)) and tuple(down.shape[1:]) == tuple(shape[1:])


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
