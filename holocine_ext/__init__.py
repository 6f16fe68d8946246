"""Shots for a Wan2.2 base: storyboards, cut layouts and shot-aware attention. Imports `wan2`, never the reverse."""
