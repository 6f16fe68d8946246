"""What an adapter file adds to which tensor of a transformer, by names and shapes. Reads no weights, no PyTorch.

Read are LoRA, LoHa, LoKr and DoRA, whose names `lora_names` knows, and full differences: `.diff` (of a weight),
`.diff_b` (of a bias) and `.diff_m` (of a modulation).
Source: Hu et al., LoRA, arXiv 2106.09685; alpha / sqrt(rank): Kalajdzievski, arXiv 2312.03732.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.sampling.experts import Expert
from wan2.weights.dtypes import DTYPES
from wan2.weights.fp8 import linears
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.kinds.adapters import BLOCK
from wan2.weights.kinds.kind import WAN
from wan2.weights.kinds.namer import kind_of
from wan2.weights.lora_kinds import is_left_out
from wan2.weights.lora_names import Part, part_of
from wan2.weights.numbers import read_numbers
from wan2.weights.peft import PeftNotes, peft_notes
from wan2.weights.sources import Beside, Delta, Lora, LoraFile, Named, TransformerFile

PRODUCTS = (
    {"up", "down"},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    {"lokr_w1", "lokr_w2"},
    {"lokr_w1_a", "lokr_w1_b", "lokr_w2"},
    {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
    {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
)
"""The roles that make a product together."""
# The first size of these, the first that is there, is the rank.
RANKED = ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")
# What belongs to a product, and is no factor of it; and what changes a tensor without one.
BESIDE, ALONE = ("alpha", "magnitude"), ("diff", "up_bias")
TRANSFORMER: dict[Expert | None, int] = {"high": 1, "low": 2}
SHOWN = 3


def with_loras(
    file: TransformerFile, loras: Iterable[Lora], inspect: Callable[[Lora, TransformerConfig], LoraFile] | None = None
) -> TransformerFile:
    """A transformer with adapters merged into it, one after the other. Those of multiplier 0 are checked and left out.

    inspect: gives what an adapter adds, if its file was read already; without it, every file is read.

    Raises:
        InputError: as `inspect_lora`.
    """
    found, merged = dict(file.sources), list(file.loras)
    for lora in loras:
        changed = (inspect or inspect_lora)(lora, file.config).deltas
        if lora.multiplier:
            merged.append(lora)
            for name, deltas in changed.items():
                found[name] = replace(found[name], deltas=(*found[name].deltas, *deltas))
    return replace(file, sources=found, loras=tuple(merged))


def with_branches(
    file: TransformerFile, loras: Sequence[Lora], inspect: Callable[[Lora, TransformerConfig], LoraFile] | None = None
) -> TransformerFile:
    """A transformer with adapters beside the linears of its blocks, those of multiplier 0 included.

    What they do to anything else is merged into it. inspect: as of `with_loras`.

    Raises:
        InputError: as `inspect_lora`.
    """
    sources, branches = dict(file.sources), dict[str, tuple[Beside, ...]]()
    layers = linears(file.config)
    names = {f"blocks.{i}.{name}" for i in range(file.config.num_layers) for name in layers}
    names |= {name.removesuffix("weight") + "bias" for name in names}
    for number, lora in enumerate(loras):
        for name, deltas in (inspect or inspect_lora)(lora, file.config).deltas.items():
            if name in names:
                branches[name] = (*branches.get(name, ()), *(Beside(number, delta) for delta in deltas))
            elif lora.multiplier:
                sources[name] = replace(sources[name], deltas=(*sources[name].deltas, *deltas))
    return replace(file, sources=sources, loras=tuple(loras), branches=branches)


def inspect_lora(
    lora: Lora, config: TransformerConfig, header: CheckpointHeader | None = None, partial: bool = False
) -> LoraFile:
    """What an adapter file adds to a transformer of this size.

    Reads the numbers of its alphas, and its header unless that is given. partial: leave out what is for parts that no
    run from text has or changes, which is refused otherwise.

    Raises:
        InputError: the file is no adapter, or some of its tensors belong nowhere or do not fit; with their number,
            the first few, and what the file looks like instead.
    """
    opened = _Opened(lora, header or read_header(lora.path), config.tensor_shapes())
    placed, unknown, both = opened.place()
    left_out = {name for name in unknown if partial and is_left_out(name)}
    strange = sorted(set(unknown) - left_out)
    if strange or not placed:
        opened.refuse(_nowhere(opened, strange))
    notes = peft_notes(lora.path, opened.header)
    deltas = {name: opened.deltas(name, placed, notes) for name in placed}
    odd = [(name, delta) for name in deltas for delta in deltas[name] if not _fits(delta, opened.shapes[name])]
    if odd:
        name, delta = odd[0]
        opened.refuse(
            f"adds to {len(odd)} tensors what does not fit a transformer of {config.num_layers} blocks, "
            f"{config.dim} wide ({_shown(delta)} to {name} {list(opened.shapes[name])}); it is "
            f"{kind_of(opened.header.tensors)}"
        )
    return LoraFile(deltas, tuple(sorted(left_out)), both)


Placed = dict[str, dict[str, tuple[Part, Named]]]
"""Native name of a tensor -> role -> the part that is for it."""


@dataclass(frozen=True)
class _Opened:
    """An adapter file: how it was asked for, its header, and the shapes of the transformer that it is for."""

    lora: Lora
    header: CheckpointHeader
    shapes: Mapping[str, tuple[int, ...]]

    def place(self) -> tuple[Placed, list[str], bool]:
        """Every part at its place; the names that belong nowhere; and whether the file is for two transformers."""
        parts = {name: part_of(name) for name in self.header.entries}
        both = {part.transformer for part in parts.values() if part} >= set(TRANSFORMER.values())
        if both and self.lora.of is None:
            self.refuse("holds an adapter for each of two transformers; say which is meant")
        placed, unknown = Placed(), list[str]()
        for name, part in parts.items():
            target = next((target for target in part.targets if target in self.shapes), None) if part else None
            if part is None or target is None:
                unknown.append(name)
            elif not both or part.transformer in (0, TRANSFORMER.get(self.lora.of)):
                self._put(placed.setdefault(target, {}), part, name)
        return placed, unknown, both

    def _put(self, roles: dict[str, tuple[Part, Named]], part: Part, name: str) -> None:
        if part.role in roles:
            self.refuse(f"tensors {roles[part.role][1].name} and {name} are the same tensor under two names")
        roles[part.role] = part, Named(name, self.header.entries[name])

    def deltas(self, target: str, placed: Placed, notes: PeftNotes) -> list[Delta]:
        """What the parts for one tensor do to it."""
        roles, made, strength = placed[target], list[Delta](), self.lora.multiplier
        for role, (_, tensor) in roles.items():
            if role != "alpha" and not DTYPES[tensor.entry.dtype].is_float:
                self.refuse(f"tensor {tensor.name} is {tensor.entry.dtype}, which is not a float")
        if product := {role: tensor for role, (_, tensor) in roles.items() if role not in ALONE}:
            magnitude, scale = product.get("magnitude"), self._scale(roles, notes)
            factors = {role: tensor for role, tensor in sorted(product.items()) if role not in BESIDE}
            if factors.keys() not in PRODUCTS:
                self.refuse(f"tensor {product[max(product)].name} is there without what belongs to it")
            made.append(Delta(strength, scale, factors, magnitude))
        if "diff" in roles:
            made.append(Delta(strength, 1.0, {"diff": roles["diff"][1]}))
        if "up_bias" in roles:
            pair = placed.get(target.removesuffix("bias") + "weight", {})
            if "down" not in pair:
                self.refuse(f"tensor {roles['up_bias'][1].name} is there without what belongs to it")
            made.append(Delta(strength, self._scale(pair, notes), {"diff": roles["up_bias"][1]}))
        return made

    def _scale(self, roles: Mapping[str, tuple[Part, Named]], notes: PeftNotes) -> float:
        """alpha / rank, or alpha / sqrt(rank) where the notes say so; 1 where there is no alpha, or no rank."""
        shapes = (roles[role][1].entry.shape for role in RANKED if role in roles)
        rank = next((max(1, *shape[:1]) for shape in shapes), None)
        if "alpha" not in roles:
            return notes.scale(next(iter(roles.values()))[0].module, rank)
        name, entry = roles["alpha"][1]
        single = DTYPES[entry.dtype].code and math.prod(entry.shape) == 1
        values = next(read_numbers([entry])) if single else ()
        if not values or not math.isfinite(values[0]):
            shown = values[0] if values else f"{entry.dtype} {list(entry.shape)[:8]}"
            self.refuse(f"tensor {name} is {shown}; an alpha is one finite number")
        return values[0] / rank if rank else 1.0

    def refuse(self, rule: str) -> NoReturn:
        """Raise the error about this file."""
        raise InputError(f"{self.lora.path}: {rule}")


def _nowhere(opened: _Opened, unknown: list[str]) -> str:
    """The rule about a file with tensors that belong nowhere."""
    kind = kind_of(opened.header.tensors)
    if not unknown:
        return f"must be a LoRA; it is {kind}"
    names = ", ".join(ascii(name)[1:-1][:80] for name in unknown[:SHOWN])
    more, count = ", ..." if len(unknown) > SHOWN else "", f"{len(unknown)} of {len(opened.header.entries)}"
    nearly = kind.model == WAN and not any(_is_beyond(name, opened.shapes) for name in unknown)
    return f"{count} tensors are unknown ({names}{more}); it is {'not exactly ' if nearly else ''}{kind}"


def _is_beyond(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a tensor is of a block that a transformer does not have."""
    found = BLOCK.search(name)
    return found is not None and not any(known.startswith(f"blocks.{found[1]}.") for known in shapes)


def _fits(delta: Delta, shape: tuple[int, ...]) -> bool:
    """Whether what is added has the shape of the tensor it is added to."""
    parts = {role: tensor.entry.shape for role, tensor in delta.parts.items()}
    if "diff" in parts:
        return parts["diff"] == shape
    rows, columns = shape[0], math.prod(shape[1:])
    if len(shape) < 2 or not _magnitude_fits(delta, rows, columns):
        return False
    if "up" in parts:
        # For a convolution, the columns may be flattened.
        return _product(parts["up"], parts["down"]) == (rows, columns) and parts["down"][1:] in (shape[1:], (columns,))
    if "hada_w1_a" in parts:
        return all(_product(parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"]) == (rows, columns) for n in "12")
    left, right = (
        _flat(parts[name]) if name in parts else _product(parts[f"{name}_a"], parts[f"{name}_b"])
        for name in ("lokr_w1", "lokr_w2")
    )
    return bool(left and right) and (left[0] * right[0], left[1] * right[1]) == (rows, columns)


def _magnitude_fits(delta: Delta, rows: int, columns: int) -> bool:
    if delta.magnitude is None:
        return True
    shape = delta.magnitude.entry.shape
    return shape == (1, columns) or (shape[:1] == (rows,) and math.prod(shape) == rows)


def _product(up: tuple[int, ...], down: tuple[int, ...]) -> tuple[int, ...]:
    """Rows and columns of a product whose factors may be those of a convolution; empty where they do not fit."""
    (rows, rank), (inner, columns) = _flat(up) or (0, 0), _flat(down) or (0, 0)
    return (rows, columns) if 0 < rank == inner else ()


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Rows and columns of a tensor as a matrix; empty where it is none."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else ()


def _shown(delta: Delta) -> str:
    parts = (*delta.parts.values(), *filter(None, [delta.magnitude]))
    return " and ".join(f"{ascii(part.name)[1:-1][:80]} {list(part.entry.shape)[:8]}" for part in parts)
