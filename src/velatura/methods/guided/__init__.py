"""Loss-guided diffusion."""

from velatura.methods.guided.method import Guided

__all__ = ["Guided"]
