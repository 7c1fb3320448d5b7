"""Inversion, the one denoising loop, guidance: no word of style."""
