"""Several styles as one: interpolation in the token space (weights sum to 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from velatura.errors import SettingError
from velatura.style.pictures import picture_tensor, pictures_of
from velatura.style.style import Style
from velatura.style.word_map import WordMap


def mix_styles(styles: Sequence[tuple[Style, float]]) -> Style:
    """One style whose word, embedding and latent are weighted sums; weights are scaled to sum to 1.

    Raises SettingError for weights that are negative or sum to 0, StyleError for styles of different methods,
    models or shapes, or without learned words.
    """
    total = sum(weight for _, weight in styles)
    if total <= 0 or min(weight for _, weight in styles) < 0:
        raise SettingError("The weights of the styles must not be negative and one must be more than 0.")
    if len(styles) == 1:
        return styles[0][0]
    shares = [weight / total for _, weight in styles]
    first = styles[0][0]
    for style, _ in styles:
        style.check(first.method, first.fingerprint, first.model)
    mixed = WordMap.mixed([WordMap.of(style.tensors) for style, _ in styles], shares)
    tensors = mixed.tensors()
    pictures = [pictures_of(style) for style, _ in styles]
    if all(pictures):
        flat = [(image, share * inner) for found, share in zip(pictures, shares, strict=True) for image, inner in found]
        tensors |= {f"picture.{index:02d}": picture_tensor(image) for index, (image, _) in enumerate(flat)}
        card_shares = [share for _, share in flat]
    else:
        card_shares = []
    embeddings = [style.tensors.get("embedding") for style, _ in styles]
    seen = [embedding for embedding in embeddings if embedding is not None]
    if len(seen) == len(styles):
        tensors["embedding"] = torch.stack([s * e for s, e in zip(shares, seen, strict=True)]).sum(0)
    name = " + ".join(f"{share:.2g} {style.name}" for (style, _), share in zip(styles, shares, strict=True))
    digest = hashlib.sha256("".join(style.identity for style, _ in styles).encode() + name.encode()).hexdigest()
    card = {"sha256": digest, "shares": card_shares}
    return Style(name, first.method, first.model, first.fingerprint, tensors, card)
