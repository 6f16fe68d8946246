"""Blocks of a transformer on the device only while they run."""
