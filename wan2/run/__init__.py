"""A plan carried out: the stages, and what they write."""
