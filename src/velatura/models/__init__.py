"""Pretrained networks: diffusion backbones, image encoders, feature extractors, and how they are loaded."""
