"""The recipe of the house model: pack pictures, train the autoencoder, train the denoiser, check both."""
