"""What S2PreST and InST ask of a model."""

from __future__ import annotations

from typing import Protocol, cast

from velatura.methods.context import RunContext
from velatura.methods.requirements import require
from velatura.models.backbone import Backbone, ImageConditioned, TextConditioned


class WordConditioned(Backbone, TextConditioned, ImageConditioned, Protocol):
    """A model that takes a prompt with learned words, and embeds pictures to make words of."""


Context = RunContext[WordConditioned]


def check_word_conditioned(backbone: Backbone, method: str) -> None:
    """Raise ModelError unless the model is ``WordConditioned``."""
    require(backbone, TextConditioned, method, "text encoder")
    require(backbone, ImageConditioned, method, "image encoder")


def word_conditioned(context: RunContext[Backbone], method: str) -> Context:
    """The context of a model that is checked to be ``WordConditioned``. Raises ModelError for another one."""
    check_word_conditioned(context.backbone, method)
    return cast("Context", context)
