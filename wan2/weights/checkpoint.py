"""Loads checkpoints into modules, strictly, a tensor at a time. Knows nothing of memory plans or of sampling.

PyTorch is imported only where tensors are made: `inspect_transformer` checks a file without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.weights.dtypes import DTYPES
from wan2.weights.fit import disagreement
from wan2.weights.fp8 import AS_STORED, Fp8
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.held import held_weights
from wan2.weights.lora import with_loras
from wan2.weights.names import FP8_MARKS, describe, sources
from wan2.weights.pickled import unpickle
from wan2.weights.sources import Lora, Source, TransformerFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch import Tensor

    from wan2.models.transformer import WanTransformer

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
PATCH_SIZE = (1, 2, 2)
SCALE_DTYPES = ("F32", "F16", "BF16")


def inspect_transformer(
    path: Path | str, loras: Iterable[Lora] = (), header: CheckpointHeader | None = None
) -> TransformerFile:
    """Check that a file (or sharded checkpoint) is a T2V transformer, complete and with nothing else in it, and that
    the LoRAs to be merged into it fit.

    Reads headers only, and not that of the file itself if `header` is given. Raises `InputError`, one line: what is
    missing, unknown or misshapen, and what the file looks like instead.
    """
    header = header or read_header(path)
    shapes = header.shapes
    try:
        found = sources(shapes)
        config = TransformerConfig.from_header({name: shapes[s.name] for name, s in found.items()}, header.metadata)
    except InputError as error:
        raise InputError(f"{path}: {error}; it looks like {describe(shapes)}") from error
    if config.in_dim not in (config.out_dim, config.out_dim + 1):
        raise InputError(f"{path}: is not a text-to-video transformer but {describe(shapes)}")
    if "i2v" in Path(path).name.lower():
        raise InputError(f"{path}: is by its name an image-to-video (I2V) checkpoint; give a text-to-video one")
    if problem := _disagreement(config, {name: shapes[source.name] for name, source in found.items()}):
        raise InputError(f"{path}: {problem}; it looks like {describe(shapes)}")
    _check_scales(path, header, found)
    return with_loras(TransformerFile(Path(path), header, config, found), loras)


def load_transformer(
    file: TransformerFile, device: torch.device | str, dtype: torch.dtype, fp8: Fp8 = AS_STORED
) -> WanTransformer:
    """Load a transformer onto `device` in `dtype`, whatever float type the file has, with its LoRAs merged in.

    Linears of blocks that are fp8 or in blocks of GGUF in the file stay so, and are multiplied out whenever they are
    used; `fp8` may add other linears, and change how they are used.

    The module is built without memory and filled tensor by tensor in the order of the file, so the peak is the model
    and one tensor. Parameters need no gradients.

    Raises:
        InputError: the file got shorter since it was inspected, or a scale or a LoRA holds values that are not finite.
    """
    import torch

    from wan2.models.held import hold
    from wan2.models.transformer import WanTransformer

    with torch.device("meta"):
        model = WanTransformer(file.config).requires_grad_(False)
    hold(model, held_weights(file, fp8.quantise), fp8.fast)
    load_weights(model, file, file.sources, torch.device(device), dtype)
    return model.eval()


def load_weights(
    model: WanTransformer, file: TransformerFile, names: Iterable[str], device: torch.device, dtype: torch.dtype
) -> None:
    """Load the named tensors of a file into a transformer, in the order of the file."""
    import torch

    from wan2.models.held import HeldLinear
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

    if Path(path).suffix in PICKLES:
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


def _check_scales(path: Path | str, header: CheckpointHeader, found: dict[str, Source]) -> None:
    """Check dtypes: floats only; a scale is a float, or one for each row; in a scaled file every fp8 tensor has one."""
    scaled = any(source.scale for source in found.values()) or any(n.endswith(FP8_MARKS) for n in header.entries)
    for source in found.values():
        entry = header.entries[source.name]
        if not DTYPES[entry.dtype].is_float:
            raise InputError(f"{path}: tensor {source.name} has the dtype {entry.dtype}, which is not a float")
        if source.scale is None:
            if scaled and entry.dtype.startswith("F8"):
                raise InputError(f"{path}: tensor {source.name} is fp8 in a scaled file but has no scale")
            continue
        scale = header.entries[source.scale]
        if scale.dtype not in SCALE_DTYPES or scale.shape not in ((), (1,), entry.shape[:1], (entry.shape[0], 1)):
            stored = f"{scale.dtype} {list(scale.shape)}"
            raise InputError(f"{path}: tensor {source.scale} is {stored}; a scale is one float, or one a row")
