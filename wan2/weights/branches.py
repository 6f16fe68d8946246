"""Loads the adapters that stand beside a transformer's weights. Knows nothing of what they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from wan2.models.branches import Branch, Branches
from wan2.weights.reader import TensorReader
from wan2.weights.sources import Beside, TransformerFile

LEAVES = (".weight", ".bias")


def load_branches(file: TransformerFile, device: torch.device, dtype: torch.dtype) -> Branches | None:
    """The branches of a transformer on a device, their factors in `dtype`; None where it has none.

    For a DoRA, the weight beside which it stands is read.

    Raises:
        InputError: an adapter holds values that are not finite, or a file got shorter since it was inspected.
    """
    if not file.branches:
        return None
    reader = TensorReader(file.header, torch.device("cpu"))
    beside: list[dict[str, list[Branch]]] = [{} for _ in range(file.config.num_layers)]
    for name, entries in file.branches.items():
        _, index, inner = name.split(".", 2)
        branches = beside[int(index)].setdefault(_linear(inner), [])
        branches += _branches(file, reader, name, entries, (device, dtype))
    return Branches(beside, [lora.multiplier for lora in file.loras])


def _linear(name: str) -> str:
    return next(name.removesuffix(leaf) for leaf in LEAVES if name.endswith(leaf))


def _branches(
    file: TransformerFile,
    reader: TensorReader,
    name: str,
    entries: Sequence[Beside],
    on: tuple[torch.device, torch.dtype],
) -> Iterator[Branch]:
    for number, delta in entries:
        addend = reader.addend(delta)
        gain = None if addend.magnitude is None else reader.gain(file.sources[name], addend).to(on[0])
        kind, factors = type(addend.factors), addend.factors
        yield Branch(number, addend.scale, kind(*(part.to(*on) for part in factors)), gain)
