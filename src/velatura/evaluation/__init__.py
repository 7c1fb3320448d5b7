"""The yardsticks: functions of two pictures, pixels (B, 3, H, W) in [-1, 1]."""

from velatura.evaluation.content import edge_f1, lpips_hedvgg, psnr, ssim
from velatura.evaluation.style import colour_distance, gram_distance, magenta_similarity

__all__ = [
    "colour_distance",
    "edge_f1",
    "gram_distance",
    "lpips_hedvgg",
    "magenta_similarity",
    "psnr",
    "ssim",
]
