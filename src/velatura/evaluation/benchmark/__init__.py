"""A benchmark: every content in every style by every method, kept on disk, measured, and summed up."""
