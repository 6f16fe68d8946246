"""The attention kernels by name."""
