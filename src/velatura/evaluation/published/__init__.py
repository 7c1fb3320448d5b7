"""Published metrics under their published names: only with the published weights, which do not come with the package.

Each says what it needs and how to get it; the network is never used without being asked for. Offline there are the
project's own measures, under their own names (``lpips_hedvgg``, ``feature_distance``, …).
"""

from velatura.evaluation.published.clip import clip_similarity
from velatura.evaluation.published.frechet import art_fid, fid
from velatura.evaluation.published.perceptual import lpips
from velatura.evaluation.published.self_similarity import dino_structure_distance
from velatura.evaluation.published.structural import cfsd
from velatura.evaluation.published.style_descriptor import csd_similarity

__all__ = ["art_fid", "cfsd", "clip_similarity", "csd_similarity", "dino_structure_distance", "fid", "lpips"]
