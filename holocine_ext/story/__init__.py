"""The scene in words: storyboards, captions, characters, prompts."""
