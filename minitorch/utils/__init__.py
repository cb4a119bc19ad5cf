"""Data loading, recomputation, files."""
