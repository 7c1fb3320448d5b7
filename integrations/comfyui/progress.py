"""What a node's run needs of ComfyUI: its bar with previews, and its cancel button."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from PIL import Image

from velatura.progress import Silent

T = TypeVar("T")
PREVIEW = 512  # pixels of a preview's longer side, at most


class NodeProgress(Silent):
    """Each loop of a run fills the bar once."""

    def __init__(self) -> None:
        self._bar: Any = None

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` under a bar of ComfyUI's. Raises its InterruptProcessingException when the user cancels."""
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar

        self._bar = ProgressBar(len(items))
        for item in items:
            throw_exception_if_processing_interrupted()
            yield item
            self._bar.update(1)

    def preview(self, _step: int, picture: Image.Image) -> None:
        """Show a step's estimate beside the bar."""
        self._bar.update_absolute(self._bar.current, preview=("JPEG", picture, PREVIEW))
