"""Scores finished videos against what was asked of them. Nothing that generates a video imports it."""
