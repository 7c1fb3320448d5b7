"""What is learned of a style, and where it is kept."""

from velatura.style.library import StyleLibrary
from velatura.style.style import Style

__all__ = ["Style", "StyleLibrary"]
