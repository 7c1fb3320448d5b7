"""What a style file may hold: the kinds of its card's entries, the types and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

Check = Callable[[Any], bool]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PART = re.compile(r"(part\.\d\d\.)+")  # a tensor of one style of a mix
PICTURE = re.compile(r"picture\.\d+")
# Shapes by name; equal letters are equal lengths. Names that are not here are free in shape.
SHAPES: Mapping[str, str] = {
    "word": "1 n w",
    "word.weight": "v u e",
    "word.bias": "v u",
    "embedding": "1 e",
    "colour.mean": "3",
    "colour.factor": "3 3",
    "start.moments": "l 2 1 c 1 1",
    "start.abars": "l",
    "shares": "s",
}


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list | tuple) and all(check(item) for item in value)


def _is(kind: type) -> Check:
    return lambda value: isinstance(value, kind)


def _loss(value: Any) -> bool:
    return _list_of(_list_of(_number))(value) and all(len(pair) == 2 for pair in value)


def _part(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("name"), str)
        and _number(value.get("share"))
        and isinstance(value.get("card"), Mapping)
        and not _card_faults(value["card"])
    )


CARD: Mapping[str, tuple[Check, str]] = {
    **{
        name: (_is(str), "text")
        for name in ("picture", "sha256", "features", "text", "prompt", "imported", "stopped", "style_ground")
    },
    "size": (_list_of(_is(int)), "a list of whole numbers"),
    "settings": (_is(Mapping), "an object"),
    "versions": (_is(Mapping), "an object"),
    "loss": (_loss, "a list of steps with their losses"),
    "unet_evaluations": (_number, "a number"),
    "seconds": (_number, "a number"),
    "style_scale": (_number, "a number"),
    "shares": (_list_of(_number), "a list of numbers"),
    "parts": (_list_of(_part), "a list of styles with their shares"),
}


def faults(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with a style's card and tensors, in words; empty where nothing is."""
    wrong = _card_faults(card)
    lengths: dict[str, int] = {}  # by part of a mix and letter
    for name, tensor in tensors.items():
        wrong += [f"its tensor '{_shown(name)}' {fault}" for fault in _tensor_faults(name, tensor, lengths)]
    pictures = sum(PICTURE.fullmatch(name) is not None for name in tensors)
    if not wrong and len(card.get("shares", [0] * pictures)) != pictures:
        wrong.append(f"its card has {len(card['shares'])} shares for {pictures} pictures")
    return wrong


def _card_faults(card: Mapping[str, Any]) -> list[str]:
    return [
        f"'{key}' in its card is not {kind}"
        for key, (check, kind) in CARD.items()
        if key in card and not check(card[key])
    ]


def _tensor_faults(name: str, tensor: Tensor, lengths: dict[str, int]) -> list[str]:
    part = PART.match(name)
    prefix = part.group() if part else ""
    own = name.removeprefix(prefix)
    if not tensor.numel():
        return ["is empty"]
    if PICTURE.fullmatch(own):
        right = tensor.dtype == torch.uint8 and tensor.ndim == 3 and tensor.shape[0] == 3
        return [] if right else [f"is no picture, but {_described(tensor)}"]
    if tensor.dtype not in FLOATS:
        return [f"is {_described(tensor)}, not of real numbers"]
    if not tensor.isfinite().all():
        return ["has values that are not finite"]
    expected = SHAPES.get(own, f"1 {own} {own}" if own.startswith("gram.") else None)
    return (
        []
        if expected is None
        else _shape_faults(tensor, [_length(letter, prefix) for letter in expected.split()], lengths)
    )


def _length(letter: str, prefix: str) -> int | str:
    return int(letter) if letter.isdigit() else prefix + letter


def _shape_faults(tensor: Tensor, expected: list[int | str], lengths: dict[str, int]) -> list[str]:
    """Whether the shape is the ``expected`` one, whose letters stand for ``lengths``, which are learned here."""
    known = dict(lengths)
    if len(expected) == tensor.ndim:
        for letter, length in zip(expected, tensor.shape, strict=True):
            known.setdefault(str(letter), length)
    wanted = [letter if isinstance(letter, int) else known.get(letter, "any") for letter in expected]
    if list(tensor.shape) != wanted:
        return [f"is {_described(tensor)}, not of shape ({', '.join(map(str, wanted))})"]
    lengths.update(known)
    return []


def _described(tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} of shape ({', '.join(map(str, tensor.shape))})"


def _shown(name: str) -> str:
    """A name from a file as it may be printed: at most 60 characters, none of them a control character."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:60])
