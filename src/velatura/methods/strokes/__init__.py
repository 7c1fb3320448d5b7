"""The stroke network at work and learning: strokes in regions, its optimiser, and its tuning to one style."""
