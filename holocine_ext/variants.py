"""Which variant a transformer's file holds, by what it says of itself, else by its name. Opens no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from holocine_ext.presets import DEFAULT_VARIANT, VARIANTS
from wan2.weights.inspected import Inspected
from wan2.weights.kinds.kind import TRANSFORMER, WAN_T2V

NOTE = "variant"
# "HoloCine-Full-HighNoise", "holocine_sparse_low": a word of its own, in any case. "full_high_noise" is how the weights
# were published; elsewhere in other names, "full" means other things.
WORD = re.compile(rf"(?<![a-z])({'|'.join(VARIANTS)})(?![a-z])", re.IGNORECASE)
OURS = re.compile(rf"holocine|^({'|'.join(VARIANTS)})_", re.IGNORECASE)
EDGE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def variant_of(metadata: Mapping[str, str], path: Path) -> tuple[str, str]:
    """The variant of a file and what tells it, "metadata" or "name"; empty where neither does."""
    if metadata.get(NOTE):
        return metadata[NOTE], "metadata"
    words = WORD.findall(EDGE.sub("_", path.name)) if OURS.search(path.name) else ()
    said = {word.lower() for word in words}
    return (said.pop(), "name") if len(said) == 1 else ("", "")


def variant_fact(found: Inspected) -> Iterator[tuple[str, str]]:
    """What `inspect` shows of a transformer besides what the base can tell."""
    if found.head is not None and found.kind.is_a(TRANSFORMER, WAN_T2V):
        variant, by = variant_of(found.head.metadata, found.path)
        if variant:
            yield "variant", f"{variant}, by its {by}"


def rank_for(given: Mapping[str, Any]) -> Callable[[Inspected], int]:
    """How good a transformer is for the variant asked for: that variant, of none that is known, of another."""
    wanted = given["variant"] or DEFAULT_VARIANT

    def rank(found: Inspected) -> int:
        variant, _ = variant_of(found.head.metadata if found.head else {}, found.path)
        return {wanted: 0, "": 1}.get(variant, -1)

    return rank
