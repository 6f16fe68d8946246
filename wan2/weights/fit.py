"""How a checkpoint's tensors differ from those a model needs. Knows nothing of either beyond names and shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

SHOWN = 3


def disagreement(expected: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]) -> str:
    """How many tensors are missing, unknown or misshapen, and the first few of each; empty when none is."""
    both = expected.keys() & found.keys()
    problems = {
        "missing": expected.keys() - found.keys(),
        "unknown": found.keys() - expected.keys(),
        "misshapen": {name for name in both if tuple(expected[name]) != tuple(found[name])},
    }
    return ", ".join(f"{len(names)} tensors {what} ({_first(names)})" for what, names in problems.items() if names)


def _first(names: Collection[str]) -> str:
    shown = [ascii(name)[1:-1][:80] for name in sorted(names)[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")
