"""ZeCon's published program (Yang et al. 2023) on an ADM, as a method of its own."""

from velatura.reproductions.zecon.method import ZeConOriginal

__all__ = ["ZeConOriginal"]
