"""The text of a prompt: cleaned, and cut into tokens."""
