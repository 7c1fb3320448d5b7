"""The methods that put a style on a picture; each reads like its paper."""
