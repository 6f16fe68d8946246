"""Storyboards written from a few words, by a language model that the person named. Starts no render."""
