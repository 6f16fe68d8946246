"""The two ways a run ends badly. Knows nothing of what went wrong, only who is at fault."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, found before anything ran.

    `str(error)` is the one line a person reads: the flag or field, the value, the rule. The command line exits 2.
    """


class RunError(RuntimeError):
    """A failure while running. `str(error)` is one line. The command line exits 1."""
