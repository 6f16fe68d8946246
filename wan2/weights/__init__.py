"""Weights in files: their headers, names and formats, and how they become tensors."""
