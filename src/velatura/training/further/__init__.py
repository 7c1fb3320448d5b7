"""Training a house model on from its own weights, for a given time."""
