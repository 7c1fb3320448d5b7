"""The embedded model: a small latent diffusion model in an ordinary diffusers folder."""
