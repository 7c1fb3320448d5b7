"""Fitted styles: their files, their library, the checkpoints of fits."""

from velatura.style.library import StyleLibrary
from velatura.style.style import Style, check_styles

__all__ = ["Style", "StyleLibrary", "check_styles"]
