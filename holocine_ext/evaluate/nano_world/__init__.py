"""The drawn world that the miniature was trained on: its films, its captions, and the facts that both hold."""
