"""Reader of InST's and S2PreST's published embedding files, which runs nothing that they pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from velatura.errors import StyleError
from velatura.methods.s2prest.published_module import PublishedModule
from velatura.methods.s2prest.word_map import WordMap
from velatura.models.loading.archive import check_archive


class _Module:
    """A pickled module without its behaviour: parameters and submodules by name."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.parts: dict[str, Any] = {**state.get("_modules", {}), **state.get("_parameters", {})}

    def __getitem__(self, name: str) -> Any:
        return self.parts[name]


class _Attention(_Module):
    pass


class _Attentions(_Module):
    pass


class _Linear(_Module):
    pass


class _Sequential(_Module):
    pass


class _Dropout(_Module):
    pass


_STAND_INS: list[Any] = [
    (_Attentions, "ldm.modules.embedding_manager.Attentions"),
    (_Attention, "ldm.modules.attention.CrossAttention"),
    (_Linear, "torch.nn.modules.linear.Linear"),
    (_Sequential, "torch.nn.modules.container.Sequential"),
    (_Dropout, "torch.nn.modules.dropout.Dropout"),
    set,
]


def read_published_embeddings(path: Path) -> WordMap:
    """The word map of an ``embeddings.pt``: its inversion module, dropout off, in affine form.

    Raises what ``read_published_module`` does.
    """
    return read_published_module(path).word_map()


def read_published_module(path: Path) -> PublishedModule:
    """The inversion module of an ``embeddings.pt``.

    Raises StyleError for a missing or damaged file, for another kind of file, and for a pickle that asks for
    anything but the published module's classes and plain tensors, ModelError for one that unfolds to many times its
    size; no code of the file is run.
    """
    if not path.is_file():
        raise StyleError(f"There is no embedding file {path}: check the name.")
    check_archive(path)
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StyleError(f"{path} was not imported: {_reason(str(error))}. Only embedding files are read.") from None
    try:
        module = loaded["attention"]
        return _layers(module["attn2"]["to_v"], module["attn2"]["to_out"]["0"], module["net"]["1"])
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise StyleError(f"{path} holds no InST inversion module ('attention'): give its embeddings.pt.") from None


def _reason(message: str) -> str:
    named = message.partition("GLOBAL ")[2].split()
    if named:
        return f"it asks for {named[0]}, which could run code"
    return "it is damaged, no torch file, or asks for more than tensors, which could run code"


def _layers(value: _Module, out: _Module, projection: _Module) -> PublishedModule:
    hidden: Tensor = out["weight"].detach().double() @ value["weight"].detach().double()
    return PublishedModule(hidden, out["bias"].detach(), projection["weight"].detach(), projection["bias"].detach())
