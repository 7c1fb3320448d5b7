"""Metrics of content preservation, style and leakage: functions of pictures (B, 3, H, W) in [-1, 1]."""

from velatura.evaluation.content import edge_f1, lpips_hedvgg, psnr, ssim
from velatura.evaluation.lattice import lattice_level, lattice_ratio
from velatura.evaluation.leakage import class_overlap, content_leak, outline_leak
from velatura.evaluation.structure import gradient_agreement, invented_edges, local_structure
from velatura.evaluation.style import colour_distance, feature_distance, gram_distance, magenta_similarity
from velatura.evaluation.texture import texture_wavelength
from velatura.evaluation.tones import clipped_share, luminance_range, region_sharpness

__all__ = [
    "class_overlap",
    "clipped_share",
    "colour_distance",
    "content_leak",
    "edge_f1",
    "feature_distance",
    "gradient_agreement",
    "gram_distance",
    "invented_edges",
    "lattice_level",
    "lattice_ratio",
    "local_structure",
    "lpips_hedvgg",
    "luminance_range",
    "magenta_similarity",
    "outline_leak",
    "psnr",
    "region_sharpness",
    "ssim",
    "texture_wavelength",
]
