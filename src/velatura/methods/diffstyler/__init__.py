"""DiffStyler (Li, arXiv 2403.18461; AAAI 2026): localised style transfer with a LoRA for each style."""

from velatura.methods.diffstyler.method import DiffStyler

__all__ = ["DiffStyler"]
