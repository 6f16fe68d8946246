"""Which of the two experts a file is by its name. Only names tell: both have the same tensors."""

from __future__ import annotations

import re
from pathlib import Path

# "t2vHigh" and "HighNoise" are words, "highres" and "lowvram" are not.
EDGE = re.compile(r"(?<=[a-z])(?=[A-Z])")
WORD = re.compile(r"(?<![a-z])(high|low)(?:(?=[ _.-]*noise)|(?![a-z])(?![ _.-]?(?:res|vram|mem|poly)))", re.IGNORECASE)


def expert_by_name(path: Path) -> str:
    """Whether a file, or the folder it lies in, is called that of much noise or that of little; empty if of neither."""
    for name in (path.name, path.parent.name):
        said = {found.lower() for found in WORD.findall(EDGE.sub("_", name))}
        if len(said) == 1:
            return said.pop()
    return ""
