"""Weights between disk, host and device."""
