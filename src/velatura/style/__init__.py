"""Fitted styles: their files, their library, the checkpoints of fits."""

from velatura.style.library import StyleLibrary
from velatura.style.style import Style

__all__ = ["Style", "StyleLibrary"]
