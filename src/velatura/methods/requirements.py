"""What a method needs of a model."""

from __future__ import annotations

from typing import Any

from velatura.errors import ModelError
from velatura.models.backbone import Backbone


def require(backbone: Backbone, capability: type[Any], method: str, what: str) -> None:
    """Raise ModelError unless the model has a ``capability``, one of the protocols of ``models.backbone``."""
    if not isinstance(backbone, capability):
        raise ModelError(
            f"The model {backbone.name} has no {what}, which --method {method} needs: use another model, or --method "
            "guided."
        )
