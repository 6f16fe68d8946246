"""What is asked for: sizes, text, model, sampling, compute and output, checked. Loads nothing."""
