"""A fitted style, or a mix of several, as S2PreST and InST read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from velatura.errors import StyleError
from velatura.methods.s2prest.conditioned import WordConditioned
from velatura.methods.s2prest.published_module import PublishedModule
from velatura.methods.s2prest.word_map import WordMap
from velatura.style import Style
from velatura.style.mixing import parts_of
from velatura.style.pictures import pictures_of


@dataclass(frozen=True)
class StylePart:
    """One style S_i of a mix: its word map v_i, the image embedding e(S_i) (1, E), its picture, and its share w_i.

    Embedding and picture are missing in styles that were imported without their picture, the ``module`` in those that
    were not imported.
    """

    word_map: WordMap
    embedding: Tensor | None
    picture: Image.Image | None
    share: float
    module: PublishedModule | None = None


@dataclass(frozen=True)
class S2PreSTStyle:
    """The ``parts`` of a style, one where it is no mix; ``identity`` is a hash of all that was fitted."""

    name: str
    identity: str
    parts: Sequence[StylePart]

    @staticmethod
    def of(style: Style) -> S2PreSTStyle:
        """The view of a style. Raises StyleError for one without a learned word."""
        parts = []
        for part, share in parts_of(style):
            pictures = pictures_of(part)
            picture = pictures[0][0] if pictures else None
            word_map, module = WordMap.of(part.tensors), PublishedModule.of(part.tensors)
            parts.append(StylePart(word_map, part.tensors.get("embedding"), picture, share, module))
        return S2PreSTStyle(style.name, style.identity, parts)

    @property
    def word_map(self) -> WordMap:
        """v(e) = sum_i w_i v_i(e), for an embedding that all parts share. Raises StyleError for unequal shapes."""
        return WordMap.mixed([part.word_map for part in self.parts], [part.share for part in self.parts])

    @property
    def pictures(self) -> list[tuple[Image.Image, float]]:
        """The parts' pictures with their shares; none where a part was imported without its own."""
        pictures = [(part.picture, part.share) for part in self.parts if part.picture is not None]
        return pictures if len(pictures) == len(self.parts) else []

    def own_word(self, embeddings: Sequence[Tensor | None] | None = None) -> Tensor | None:
        """sum_i w_i v_i(e(S_i)) (1, n, width): each map acts on its own style's embedding (1, E).

        The ``embeddings`` are those of the fits unless given; None where one of them is missing.
        """
        own = [part.embedding for part in self.parts] if embeddings is None else embeddings
        words = [
            part.share * part.word_map(embedding.to(part.word_map.weight))
            for part, embedding in zip(self.parts, own, strict=True)
            if embedding is not None
        ]
        return torch.stack(words).sum(0) if len(words) == len(self.parts) else None

    def word_map_for(self, backbone: WordConditioned) -> WordMap:
        """The word map on a model's device. Raises StyleError where the model's words have another width."""
        width, expected = self.word_map.width, backbone.word_width()
        if width != expected:
            raise StyleError(
                f"The style '{self.name}' has words of width {width}, the model {backbone.name} of {expected}: use the "
                "base model that it was made for."
            )
        return self.word_map.to(backbone.device)

    def require_picture(self, **settings: float) -> None:
        """Raise StyleError for the first of these ``settings`` that is not 0, because the style has no picture."""
        for setting, value in settings.items():
            if value:
                raise StyleError(
                    f"The style '{self.name}' was imported without its picture, which {setting} needs: import it with "
                    f"--picture, or set {setting}=0."
                )


def picture_word(style: Style) -> Tensor | None:
    """The word (n, width) of a style's own picture, of a mix the weighted sum; None where a picture is missing.

    It is kept as such by DiffStyler's and guided's styles; S2PreST's hold a word map and the picture's embedding.
    """
    words = [(_kept_word(part), share) for part, share in parts_of(style)]
    found = [share * word for word, share in words if word is not None]
    return torch.stack(found).sum(0) if len(found) == len(words) else None


def _kept_word(style: Style) -> Tensor | None:
    if "word" in style.tensors:
        return style.tensors["word"][0]
    word = S2PreSTStyle.of(style).own_word()
    return None if word is None else word[0]
