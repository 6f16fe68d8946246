"""The networks of Wan2.2: transformer, text encoder, VAE."""
