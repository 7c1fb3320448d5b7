"""Adapters beside the model, for every method on a latent model with a UNet."""
