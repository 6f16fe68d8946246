"""Wan2.2 text-to-video: a small library and the command line over it."""

__version__ = "0.1.0"
