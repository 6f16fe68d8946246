"""What a request comes to: files found sound, memory predicted, names settled. Never imports PyTorch."""
