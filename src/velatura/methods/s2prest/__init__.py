"""S2PreST (Semantic-Shape-Guided Style Transfer in Inversion-Based Diffusion, 2024), with InST under it."""

from velatura.methods.s2prest.inst import InST
from velatura.methods.s2prest.method import S2PreST

__all__ = ["InST", "S2PreST"]
