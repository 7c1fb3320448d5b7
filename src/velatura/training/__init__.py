"""The recipe of the house model: pack pictures, train the autoencoder and the denoiser, check both."""
