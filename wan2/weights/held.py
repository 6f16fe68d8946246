"""Which weights of a transformer are held in fewer bits, and in which form. Names and integers; no PyTorch.

Linears of blocks that a file has in int8 or in a block type of GGUF stay so, and are multiplied out whenever they are
used; those that LoRAs are merged into are multiplied out once, as they are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wan2.models.forms import BLOCKS, INT8, Form, as_fp8
from wan2.weights.fp8 import fp8_weights, linears

if TYPE_CHECKING:
    from wan2.weights.header import CheckpointHeader, StoredTensor
    from wan2.weights.sources import TransformerFile


def held_weights(file: TransformerFile, quantise: bool) -> dict[str, Form]:
    """The weights that are held in fewer bits: as the file has them, or quantised to fp8."""
    return as_fp8(fp8_weights(file, quantise)) | packed_weights(file)


def packed_weights(file: TransformerFile) -> dict[str, Form]:
    """The weights of linears of blocks that are held as the file has them, in int8 or in a block type."""
    names = (f"blocks.{index}.{name}" for index in range(file.config.num_layers) for name in linears(file.config))
    found = {name: file.sources[name] for name in names if not file.sources[name].deltas}
    forms = {name: _form(file.header.entries[source.name], source.turned) for name, source in found.items()}
    return {name: form for name, form in forms.items() if form}


def _form(entry: StoredTensor, turned: int) -> Form | None:
    """The form in which a tensor can stay, if there is one."""
    if entry.dtype == "I8":
        return Form(INT8, turned)
    return Form(entry.dtype) if in_blocks(entry) else None


def packed_value(header: CheckpointHeader) -> float:
    """Bytes of a value of the matrices that a file has in int8 or a block type, all together; 0 if there are none."""
    matrices = [entry for entry in header.entries.values() if _form(entry, 0)]
    values = sum(math.prod(entry.shape) for entry in matrices)
    return sum(entry.end - entry.start for entry in matrices) / values if values else 0


def in_blocks(entry: StoredTensor) -> bool:
    """Whether a tensor is a matrix whose rows are whole blocks of a type of GGUF."""
    block = BLOCKS.get(entry.dtype)
    return block is not None and len(entry.shape) == 2 and entry.shape[1] % block.values == 0


def in_block(index: int, held: Mapping[str, Form]) -> dict[str, Form]:
    """Those of the weights that belong to a block of the transformer, by their names within it."""
    prefix = f"blocks.{index}."
    return {name.removeprefix(prefix): form for name, form in held.items() if name.startswith(prefix)}
