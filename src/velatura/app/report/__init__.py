"""HTML pages, each one file: what made a picture, and blind comparisons."""
