"""The published programs' own arithmetic, one method each, for comparison."""
