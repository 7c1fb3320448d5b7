"""Descriptions of training pictures, read from their file names, and captions made of them."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from velatura.models.loading.wheel_files import wheel_file

Kind = Literal["photo", "painting", "painted"]
PLACEHOLDER = "*"
WORD_CAPTION = f"a painting in the style of {PLACEHOLDER}"  # under which a model is measured
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Description:
    """The ``subject`` of a photo ("dog"), or the ``style`` and ``artist`` of a painting; empty where unknown."""

    kind: Kind
    subject: str = ""
    style: str = ""
    artist: str = ""


def _words(name: str) -> str:
    return re.sub(r"[-_]+", " ", name).strip().lower()


def describe_photo(path: Path) -> Description:
    """The class in ``class__image.webp`` or ImageNet's ``n01234567-class-name-id.webp`` as the subject, or none."""
    stem = path.stem
    if "__" in stem:
        return Description("photo", subject=_words(stem.split("__")[0]))
    imagenet = re.fullmatch(r"n\d{8}-(?:\d+-)?(.+)-[0-9a-f]{6}", stem)
    return Description("photo", subject=_words(imagenet[1]) if imagenet else "")


def describe_painting(path: Path) -> Description:
    """Style and artist of ``style__artist__title.webp``; empty where they are "unknown"."""
    parts = [_words(part) for part in path.stem.split("__")]
    style, artist = [*parts, "", ""][:2] if len(parts) >= 2 else ("", "")
    return Description("painting", style="" if style == UNKNOWN else style, artist="" if artist == UNKNOWN else artist)


def imagenet_names() -> list[str]:
    """The 1000 ImageNet class names in the order of the classifier's outputs, from the timm wheel's tables."""
    tables = [
        wheel_file("timm", f"timm/data/_info/{name}.txt", "--no-deps timm").read_text().splitlines()
        for name in ("imagenet_synsets", "imagenet_synset_to_lemma")
    ]
    lemmas = dict(line.split("\t", 1) for line in tables[1])
    return [lemmas[synset].split(",")[0].lower() for synset in tables[0]]


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"


def caption(description: Description, with_word: bool, chance: random.Random) -> str:
    """A caption in one of the recipe's forms, with or without "in the style of *"."""
    if description.kind == "photo":
        text = f"a photo of {_article(description.subject)}" if description.subject else "a photo"
    elif description.kind == "painted":
        text = f"a painting of {_article(description.subject)}" if description.subject else "a painting"
    else:
        text = f"{_article(description.style)} painting" if description.style else "a painting"
        if description.artist and chance.random() < 0.5:
            text += f" by {description.artist}"
    return f"{text} in the style of {PLACEHOLDER}" if with_word else text
