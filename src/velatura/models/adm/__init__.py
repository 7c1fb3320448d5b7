"""ADM, the pixel-space diffusion UNet of Dhariwal & Nichol (2021): architecture, checkpoints, backbone."""
