"""A GPU that is not there: real code on CUDA tensors without memory, and what it asked of the card."""
