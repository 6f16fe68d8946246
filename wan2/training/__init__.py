"""Low-rank adapters trained on a frozen transformer: their mathematics, gradients block by block, states."""
