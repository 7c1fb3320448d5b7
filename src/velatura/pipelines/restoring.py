"""Leaving a pipeline's networks as they were: what a call changes of them for its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def left_as_they_were(parts: Iterable[Any]) -> Iterator[None]:
    """Afterwards the modules among ``parts`` train or not, ask for gradients and have number formats as before."""
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    training = [(module, module.training) for module in modules]
    weights = [
        (module, name, value.requires_grad, value.dtype)
        for module in modules
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]
    try:
        yield
    finally:
        for module, was in training:
            module.training = was
        for module, name, asks, dtype in weights:
            value = getattr(module, name)
            if value.dtype != dtype:
                value.data = value.data.to(dtype)
            if value.requires_grad != asks:
                value.requires_grad_(asks)
