"""A picture of any size worked on in overlapping tiles of the model's size."""
