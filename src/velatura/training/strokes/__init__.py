"""Training of the stroke network: what the fast UNet painted, losses of textures and structure, the optimisation."""
