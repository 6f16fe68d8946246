"""What a LoRA file adds to which tensor of a transformer, by names and shapes. Reads no weights, imports no PyTorch.

Read: kohya's and musubi's `lora_unet_blocks_0_self_attn_q.lora_down.weight`, PEFT's and diffusers' `lora_A`, `lora_B`
(with native or diffusers' names of modules, and alpha in the metadata), and the same as ComfyUI and LightX2V prefix
them, with their full differences `.diff` (of a weight), `.diff_b` (of a bias) and `.diff_m` (of a modulation).
Source: Hu et al., LoRA, arXiv 2106.09685; alpha / sqrt(rank): Kalajdzievski, arXiv 2312.03732.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.weights.dtypes import DTYPES
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.lora_kinds import describe_lora
from wan2.weights.names import native_name
from wan2.weights.numbers import read_numbers
from wan2.weights.peft import PeftNotes, peft_notes
from wan2.weights.sources import Delta, Deltas, Lora, Named, TransformerFile

HALVES = {"lora_down": "down", "lora_A": "down", "lora_up": "up", "lora_B": "up"}
PART = re.compile(
    rf"(?P<module>.+?)\.(?:(?P<half>{'|'.join(HALVES)})(?:\.\w+)?\.weight|(?P<alone>alpha|diff|diff_b|diff_m))"
)
# What follows the module in the name of the tensor that a part is of.
ENDINGS = {"diff": (".weight", ""), "diff_b": (".bias",), "diff_m": (".modulation",)}
PREFIXES = ("transformer.", "transformer_2.")
KOHYA = "lora_unet_"
SHOWN = 3


def with_loras(
    file: TransformerFile, loras: Iterable[Lora], deltas_of: Callable[[Lora, TransformerConfig], Deltas] | None = None
) -> TransformerFile:
    """A transformer with LoRAs merged into it, one after the other. Those of multiplier 0 are checked and left out.

    deltas_of: gives what a LoRA adds, if its file was read already; without it, every file is read.

    Raises:
        InputError: as `lora_deltas`.
    """
    found, merged = dict(file.sources), list(file.loras)
    for lora in loras:
        changed = (deltas_of or lora_deltas)(lora, file.config)
        if lora.multiplier:
            merged.append(lora)
            for name, deltas in changed.items():
                found[name] = replace(found[name], deltas=(*found[name].deltas, *deltas))
    return replace(file, sources=found, loras=tuple(merged))


def lora_deltas(lora: Lora, config: TransformerConfig, header: CheckpointHeader | None = None) -> Deltas:
    """Native name -> what a LoRA adds to that tensor of a transformer of this size.

    Reads the numbers of its alphas, and its header unless that is given.

    Raises:
        InputError: the file is no LoRA, or some of its tensors belong nowhere or do not fit; with their number,
            the first few, and what the file looks like instead.
    """
    path, header = lora.path, header or read_header(lora.path)
    shapes = config.tensor_shapes()
    placed, unknown = _place(path, header, shapes)
    if unknown or not placed:
        raise InputError(_nowhere(path, header, unknown))
    notes = peft_notes(path, header.metadata)
    deltas = {name: _deltas(lora, header, parts, notes) for name, parts in placed.items()}
    if odd := [(name, delta) for name in deltas for delta in deltas[name] if not _fits(delta, shapes[name])]:
        name, delta = odd[0]
        raise InputError(
            f"{path}: adds to {len(odd)} tensors what does not fit a transformer of {config.num_layers} blocks, "
            f"{config.dim} wide ({_shown(delta)} to {name} {list(shapes[name])}); it looks like "
            f"{describe_lora(header.shapes)}"
        )
    return deltas


def _place(
    path: Path, header: CheckpointHeader, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Native name -> part -> name in the file; and the names that belong nowhere."""
    modules = {name.rpartition(".")[0] for name in shapes}
    flat = {module.replace(".", "_"): module for module in modules}
    placed: dict[str, dict[str, str]] = {}
    unknown = []
    for name in header.entries:
        match = PART.fullmatch(name)
        target = _target(match["module"], match["alone"], shapes, flat) if match else None
        if match is None or target is None:
            unknown.append(name)
            continue
        parts = placed.setdefault(target, {})
        part = "diff" if (match["alone"] or "").startswith("diff") else HALVES.get(match["half"], "alpha")
        if part in parts:
            raise InputError(f"{path}: tensors {parts[part]} and {name} are the same tensor under two names")
        parts[part] = name
    return placed, unknown


def _target(
    module: str, alone: str | None, shapes: Mapping[str, tuple[int, ...]], flat: Mapping[str, str]
) -> str | None:
    """The native name of the tensor that a part of a module is of."""
    if module.startswith(KOHYA):
        module = flat.get(module.removeprefix(KOHYA).lstrip("_"), "")
    for prefix in PREFIXES:
        module = module.removeprefix(prefix)
    names = (native_name(module + ending) for ending in ENDINGS.get(alone or "", (".weight",)))
    return next((name for name in names if name in shapes), None)


def _nowhere(path: Path, header: CheckpointHeader, unknown: list[str]) -> str:
    """The message about a file with tensors that belong nowhere."""
    looks = describe_lora(header.shapes)
    if not unknown:
        return f"{path}: holds no LoRA; it looks like {looks}"
    names = ", ".join(ascii(name)[1:-1][:80] for name in sorted(unknown)[:SHOWN])
    more = ", ..." if len(unknown) > SHOWN else ""
    return f"{path}: {len(unknown)} of {len(header.entries)} tensors are unknown ({names}{more}); it looks like {looks}"


def _deltas(lora: Lora, header: CheckpointHeader, parts: Mapping[str, str], notes: PeftNotes) -> list[Delta]:
    """What a LoRA adds to one tensor, from the parts of it that are for this tensor."""
    found = {part: Named(stored, header.entries[stored]) for part, stored in parts.items()}
    for part, tensor in found.items():
        if part != "alpha" and not DTYPES[tensor.entry.dtype].is_float:
            raise InputError(f"{lora.path}: tensor {tensor.name} is {tensor.entry.dtype}, which is not a float")
    halves = found.keys() - {"diff"}
    if halves and not {"up", "down"} <= halves:
        raise InputError(f"{lora.path}: tensor {found[max(halves)].name} is there without what belongs to it")
    deltas = []
    if halves:
        factor = lora.multiplier * _scale(lora.path, found["down"], found.get("alpha"), notes)
        deltas.append(Delta(factor, found["up"], found["down"]))
    if "diff" in found:
        deltas.append(Delta(lora.multiplier, found["diff"]))
    return deltas


def _scale(path: Path, down: Named, alpha: Named | None, notes: PeftNotes) -> float:
    """alpha / rank, or alpha / sqrt(rank) where the notes say so; 1 where there is no alpha."""
    rank = next(iter(down.entry.shape), 0)
    if alpha is not None:
        single = DTYPES[alpha.entry.dtype].code and math.prod(alpha.entry.shape) == 1
        values = next(read_numbers([alpha.entry])) if single else ()
        if not values or not math.isfinite(values[0]):
            shown = values[0] if values else f"{alpha.entry.dtype} {list(alpha.entry.shape)[:8]}"
            raise InputError(f"{path}: tensor {alpha.name} is {shown}; an alpha is one finite number")
        return values[0] / max(1, rank)
    match = PART.fullmatch(down.name)
    noted = notes.alpha(match["module"]) if match else None
    if noted is None:
        return 1.0
    return noted / (math.sqrt(max(1, rank)) if notes.by_root else max(1, rank))


def _fits(delta: Delta, shape: tuple[int, ...]) -> bool:
    """Whether what is added has the shape of the tensor it is added to."""
    up = delta.up.entry.shape
    if delta.down is None:
        return up == shape
    down = delta.down.entry.shape
    ranks = len(down) > 1 and len(up) > 1 and 0 < down[0] == up[1]
    # For a convolution, the columns may be flattened.
    columns = down[1:] in (shape[1:], (math.prod(shape[1:]),))
    return ranks and columns and up[0] == shape[0] and math.prod(up) == up[0] * up[1]


def _shown(delta: Delta) -> str:
    halves = (half for half in (delta.down, delta.up) if half is not None)
    return " and ".join(f"{ascii(half.name)[1:-1][:80]} {list(half.entry.shape)[:8]}" for half in halves)
