"""What a check found, as a table for a terminal and as JSON. Measures nothing, knows nothing of PyTorch."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 80
NAME_WIDTH = 38


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, in words, and as a number; `right` is None where nothing is judged.

    unit: of the number, such as "TFLOP/s".
    """

    group: str
    name: str
    words: str
    value: float | None = None
    unit: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Checked:
    """Everything that was found on a machine.

    machine: what it is, in words. tflops: the rate at which a block of the true width ran, in 10^12 operations a
    second.
    """

    machine: Mapping[str, str]
    findings: Sequence[Finding]
    tflops: float
    seconds: float

    @property
    def right(self) -> bool:
        """Whether nothing was found wrong."""
        return all(finding.right is not False for finding in self.findings)

    def table(self) -> str:
        """Lines of at most 80 characters."""
        lines = [f"{name:<11}{value}" for name, value in self.machine.items()]
        group = ""
        for finding in self.findings:
            if finding.group != group:
                group = finding.group
                lines += ["", group]
            lines += _lines(finding)
        wrong = [finding.name for finding in self.findings if finding.right is False]
        verdict = f"WRONG: {', '.join(wrong)}" if wrong else "everything that was judged is right"
        lines += ["", *textwrap.wrap(f"{verdict}; {self.seconds:.0f} s", WIDTH)]
        return "\n".join(lines)

    def as_json(self) -> str:
        """The same for a machine to read."""
        table: dict[str, Any] = {
            "machine": dict(self.machine),
            "tflops": self.tflops,
            "seconds": self.seconds,
            "right": self.right,
            "findings": [vars(finding) for finding in self.findings],
        }
        return json.dumps(table, indent=1) + "\n"


def _lines(finding: Finding) -> list[str]:
    mark = {True: "right", False: "WRONG", None: ""}[finding.right]
    name, start = f"  {finding.name:<{NAME_WIDTH}}", " " * (NAME_WIDTH + 2)
    room = WIDTH - len(start) - 6
    first, *others = textwrap.wrap(finding.words, room) or [""]
    lines = [f"{name}{first:<{room}} {mark}".rstrip(), *(start + line for line in others)]
    return lines if len(name) == len(start) else [name.rstrip(), f"{start}{first:<{room}} {mark}".rstrip(), *lines[1:]]
