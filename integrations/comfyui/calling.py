"""How ComfyUI calls a node's function: with gradients, with errors in the nodes' words, with warnings on the node."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

from velatura.errors import VelaturaError

from .words import in_nodes_words

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger("velatura")


class OnNode(logging.Handler):
    """Shows the warnings of one call as text on the node that runs; ComfyUI's log has them too."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning below those before it; nothing in a ComfyUI that shows no text on nodes."""
        try:
            from comfy_execution.utils import get_executing_context
            from server import PromptServer

            self._told.append(in_nodes_words(record.getMessage()))
            node = get_executing_context().node_id
            PromptServer.instance.send_progress_text("\n".join(self._told), node)
        except (ImportError, AttributeError):
            return


def as_node(function: F) -> F:
    """A node's function, outside the inference mode in which ComfyUI calls it: losses need gradients, and weights that
    were loaded in that mode could have none. What Velatura raises and warns of is told in the nodes' words.
    """

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        shown = OnNode()
        log.addHandler(shown)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                return function(*args, **kwargs)
        except VelaturaError as error:
            error.args = (in_nodes_words(str(error)),)
            raise
        finally:
            log.removeHandler(shown)

    return called  # type: ignore[return-value]
