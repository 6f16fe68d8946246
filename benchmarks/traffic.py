"""What a step moves besides its products: `python -m benchmarks.traffic`, bytes and launches, counted without a GPU.

One step with guidance of the 14B shape in bfloat16: 241 frames of 480x832, six shots, forty blocks. The real code runs
on tensors without memory (`benchmarks.fake_card`); every kernel counts what it reads and writes, each operand once.
Steps of one block and of two are counted: forty are the difference forty times. Products and attentions are counted by
operations elsewhere (`benchmarks.forward`) and left out here. What caches save on a real card is not seen.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from benchmarks.fake_card.card import fake_card
from benchmarks.fake_card.forwards import Forward
from benchmarks.table import columns
from wan2.models.config import A14B

PRODUCTS = ("linear", "addmm", "mm", "_scaled_mm")
ATTENTIONS = ("scaled_dot_product",)
TB = 1e12
KINDS = {
    "sparse": Forward(sparse=True),
    "sparse, fp8_scaled": Forward(sparse=True, fp8="scaled"),
    "sparse, fp8_fast": Forward(sparse=True, fp8="fast"),
    "full": Forward(sparse=False),
}
STEPS = KINDS | {f"{name}, fused": replace(step, fused=True) for name, step in KINDS.items()}


class Traffic(NamedTuple):
    """Of each kernel: how often it is started, and the bytes that all of them move."""

    kernels: Counter[str]
    moved: Counter[str]

    @property
    def elementwise(self) -> int:
        """Bytes of everything but products and attentions."""
        return sum(size for name, size in self.moved.items() if not name.startswith((*PRODUCTS, *ATTENTIONS)))


def count(step: Forward) -> Traffic:
    """What forty blocks move in a step."""
    one, two = (_counted(replace(step, layers=layers)) for layers in (1, 2))
    layers = A14B.num_layers
    return Traffic(
        *(Counter({k: layers * (b[k] - a[k]) for k in b if b[k] != a[k]}) for a, b in zip(one, two, strict=True))
    )


def _counted(step: Forward) -> Traffic:
    with fake_card() as notes:
        model = step.model()
        notes.restart()
        step.run(model)
    return Traffic(notes.kernels, notes.moved)


def table(traffic: dict[str, Traffic]) -> str:
    """A row a step, then a row a kernel of the first step, without and with fused kernels."""
    rows = [["one step with guidance", "elementwise, TB", "kernels started"]]
    rows += [[name, f"{t.elementwise / TB:.2f}", f"{t.kernels.total():,}"] for name, t in traffic.items()]
    name, first = next(iter(traffic.items()))
    kernels = [[f"{name}: each kernel", "TB", "started"]]
    kernels += [
        [kernel, f"{size / TB:.3f}", f"{first.kernels[kernel]:,}"] for kernel, size in first.moved.most_common()
    ]
    return columns(rows) + "\n" + columns(kernels)


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.traffic", description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    sys.stdout.write("$ python -m benchmarks.traffic\ncounted, nothing was computed or measured\n\n")
    sys.stdout.write(table({name: count(step) for name, step in STEPS.items()}))


if __name__ == "__main__":
    main()
