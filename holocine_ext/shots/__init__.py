"""The scene in shots: where they lie, and what each attends to."""
