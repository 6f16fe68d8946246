"""Loads checkpoints into modules, strictly, a tensor at a time. Knows nothing of memory plans or of sampling.

PyTorch is imported only where tensors are made: `inspect_transformer` checks a file without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.weights.fit import disagreement
from wan2.weights.fp8 import AS_STORED, LowBit
from wan2.weights.head import head_of, readable
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.held import held_weights
from wan2.weights.kinds.kind import TRANSFORMER, WAN_T2V
from wan2.weights.kinds.refusals import check_kind, not_exactly
from wan2.weights.lora import with_loras
from wan2.weights.names import sources
from wan2.weights.pickled import unpickle
from wan2.weights.scales import check_dtypes
from wan2.weights.sources import Lora, Source, TransformerFile
from wan2.weights.turned import with_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch import Tensor

    from wan2.models.transformer import WanTransformer

PATCH_SIZE = (1, 2, 2)


def inspect_transformer(
    path: Path | str, loras: Iterable[Lora] = (), header: CheckpointHeader | None = None
) -> TransformerFile:
    """Check that a file (or sharded checkpoint) is a T2V transformer, complete and with nothing else in it, and that
    the LoRAs to be merged into it fit.

    Reads headers only, and not that of the file itself if `header` is given. Raises `InputError`, one line: what is
    missing, unknown or misshapen, and what the file looks like instead.
    """
    header = header or read_header(path)
    config, found = _sized(path, header)
    check_dtypes(path, header.tensors, found)
    found = with_turns(path, header, found)
    return with_loras(TransformerFile(Path(path), header, config, found), loras)


def _sized(path: Path | str, header: CheckpointHeader) -> tuple[TransformerConfig, dict[str, Source]]:
    """The sizes of a transformer that is complete, and where its tensors come from."""
    shapes, kind = header.shapes, head_of(header).kind
    check_kind(path, kind, TRANSFORMER, WAN_T2V)
    try:
        found = sources(shapes)
        native = {name: shapes[source.name] for name, source in found.items()}
        config = TransformerConfig.from_header(native, header.metadata)
    except InputError as error:
        raise not_exactly(path, str(error), kind) from error
    if problem := _disagreement(config, native):
        raise not_exactly(path, problem, kind)
    return config, found


def load_transformer(
    file: TransformerFile, device: torch.device | str, dtype: torch.dtype, low_bit: LowBit = AS_STORED
) -> WanTransformer:
    """Load a transformer onto `device` in `dtype`, whatever float type the file has, its LoRAs merged in or beside.

    Linears of blocks that are fp8 or in blocks of GGUF in the file stay so, and are multiplied out whenever they are
    used; `low_bit` may add other linears, and change how they are used.

    The module is built without memory and filled tensor by tensor in the order of the file, so the peak is the model
    and one tensor. Parameters need no gradients.

    Raises:
        InputError: the file got shorter since it was inspected, or a scale or a LoRA holds values that are not finite.
    """
    import torch

    from wan2.models.held import hold
    from wan2.models.transformer import WanTransformer
    from wan2.weights.branches import load_branches

    with torch.device("meta"):
        model = WanTransformer(file.config).requires_grad_(False)
    hold(model, held_weights(file, low_bit.quantise), low_bit.fast)
    load_weights(model, file, file.sources, torch.device(device), dtype)
    model.branches = load_branches(file, torch.device(device), dtype)
    return model.eval()


def load_weights(
    model: WanTransformer, file: TransformerFile, names: Iterable[str], device: torch.device, dtype: torch.dtype
) -> None:
    """Load the named tensors of a file into a transformer, in the order of the file."""
    import torch

    from wan2.models.multiplied import HeldLinear
    from wan2.weights.reader import TensorReader

    reader = TensorReader(file.header, device)
    # For tensors made under inference mode, every region would be compiled a second time.
    with torch.inference_mode(False):
        for name in sorted(names, key=lambda name: _place(file.header, file.sources[name].name)):
            owner, _, leaf = name.rpartition(".")
            module, source = model.get_submodule(owner), file.sources[name]
            if isinstance(module, HeldLinear) and leaf == "weight":
                parts = dict(zip(module.parts, reader.read_held(source, module.stored.dtype), strict=True))
            else:
                parts = {leaf: reader.read(source, dtype)}
            for part, tensor in parts.items():
                setattr(module, part, torch.nn.Parameter(tensor, requires_grad=False))


def load_tensors(path: Path | str) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor, in the file's own dtype on the CPU, of a safetensors file or of a PyTorch file of plain tensors.

    Raises `InputError` for a file that cannot be read or holds anything but a table of tensors.
    """
    import torch

    from wan2.weights.reader import TensorReader

    if not readable(Path(path)):
        yield from unpickle(Path(path)).items()
        return
    header = read_header(path)
    reader = TensorReader(header, torch.device("cpu"))
    for name in sorted(header.entries, key=lambda name: _place(header, name)):
        yield name, reader.read(Source(name))


def _place(header: CheckpointHeader, name: str) -> tuple[str, int]:
    entry = header.entries[name]
    return str(entry.path), entry.start


def _disagreement(config: TransformerConfig, shapes: dict[str, tuple[int, ...]]) -> str:
    patches = f"its patches are {config.patch_size}, not {PATCH_SIZE}" if config.patch_size != PATCH_SIZE else ""
    return ", ".join(filter(None, (disagreement(config.tensor_shapes(), shapes), patches)))
