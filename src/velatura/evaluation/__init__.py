"""Metrics of content preservation, style and leakage: functions of pictures (B, 3, H, W) in [-1, 1]."""

from velatura.evaluation.content import edge_f1, lpips_hedvgg, psnr, ssim
from velatura.evaluation.leakage import class_overlap, content_leak, outline_leak
from velatura.evaluation.style import colour_distance, gram_distance, magenta_similarity

__all__ = [
    "class_overlap",
    "colour_distance",
    "content_leak",
    "edge_f1",
    "gram_distance",
    "lpips_hedvgg",
    "magenta_similarity",
    "outline_leak",
    "psnr",
    "ssim",
]
