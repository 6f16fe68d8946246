"""Which weights of a transformer are held in fp8. Names and integers; knows nothing of PyTorch.

Weights that a file has in fp8 stay in fp8. The setting `fp8_scaled` adds the linears of the blocks, except for the
first and the last two blocks, on which the quality depends most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan2.weights.dtypes import E4M3

if TYPE_CHECKING:
    from wan2.models.config import TransformerConfig
    from wan2.weights.sources import TransformerFile

# Blocks at either end that are not quantised.
ENDS = 2
WEIGHT = ".weight"


@dataclass(frozen=True)
class LowBit:
    """What is done with linears: `quantise` those the file has in a wider type to fp8; `fast` are the forms, "fp8" or
    "int8", of which products are computed as they are held.
    """

    quantise: bool = False
    fast: frozenset[str] = frozenset()


AS_STORED = LowBit()


def linears(config: TransformerConfig) -> tuple[str, ...]:
    """The weights of the linears of a block, by their names within it."""
    return tuple(name for name, shape in config.block_shapes().items() if name.endswith(WEIGHT) and len(shape) == 2)


def quantised(config: TransformerConfig) -> frozenset[str]:
    """The weights that are quantised when asked for."""
    middle = range(ENDS, config.num_layers - ENDS)
    return frozenset(f"blocks.{index}.{name}" for index in middle for name in linears(config))


def fp8_weights(file: TransformerFile, quantise: bool) -> frozenset[str]:
    """The weights that are held in fp8: those that are fp8 in the file, and those to be quantised."""
    every = (f"blocks.{index}.{name}" for index in range(file.config.num_layers) for name in linears(file.config))
    stored = {name for name in every if file.header.entries[file.sources[name].name].dtype == E4M3}
    return frozenset(stored | (quantised(file.config) if quantise else frozenset()))
