"""PyTorch's own files, `.pth` and the like, checked before they are unpickled. Knows nothing of models.

Such a file contains a pickle, which is a program, in a zip archive or before its tensors. Before it runs: it may name
only what plain tensors need, it must be short, and its archive must not be compressed.
"""

from __future__ import annotations

import io
import itertools
import pickle
import pickletools
import struct
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.parsing import Reading

if TYPE_CHECKING:
    from torch import Tensor

NOT_PLAIN = "is not a PyTorch file of plain tensors; nothing in it was run"
ZIP = b"PK\x03\x04"
# Files of PyTorch before 1.6 begin with this number, which is a pickle of its own; four more follow.
LEGACY, LEGACY_PICKLES = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", 5
PICKLE = "/data.pkl"
# A hundred times what the published text encoder and VAE have.
MAX_PICKLE, MAX_OPERATIONS, MAX_RECORDS = 1 << 22, 1 << 17, 1 << 15
# The end record of a zip archive, how far a comment may move it, and the locator of that of a larger archive.
END, END_REACH = b"PK\x05\x06", 1 << 17
LOCATOR, LOCATOR_SIZE, END64_SIZE = b"PK\x06\x07", 20, 56
STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
PLAIN = {f"torch {name}Storage" for name in STORAGES}
PLAIN |= {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter"}
PLAIN |= {"collections OrderedDict", "torch.storage UntypedStorage", "torch float8_e4m3fn", "torch float8_e5m2"}


def unpickle(path: Path) -> dict[str, Tensor]:
    """Name -> tensor on the CPU, of a PyTorch file; memory-mapped where the file is an archive.

    Raises:
        InputError: the file cannot be read, is compressed, or holds anything else than a table of plain tensors, dense
            and real, each with memory of its own size. Nothing in it was run.
    """
    import torch

    with Reading(str(path)):
        _, legacy = read_pickle(path)
        try:
            with warnings.catch_warnings(action="ignore"):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=not legacy)
        except pickle.UnpicklingError as error:
            raise InputError(f"{path}: {NOT_PLAIN}") from error
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise InputError(f"{path}: holds something other than a table of tensors")
        return {name: _plain(path, name, value) for name, value in content.items()}


def read_pickle(path: Path) -> tuple[io.BytesIO, bool]:
    """The pickle of a PyTorch file, found harmless, and whether the file is of before 1.6: then there are several.

    Raises:
        InputError: the file cannot be read, is compressed, or its pickle names more than plain tensors need.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY))
            legacy = start == LEGACY
            if not legacy and not start.startswith(ZIP):
                raise InputError(f"{path}: {NOT_PLAIN}")
            content = start + file.read(MAX_PICKLE) if legacy else _read_archive(path, file)
            _check_pickle(path, content, LEGACY_PICKLES if legacy else 1)
            return io.BytesIO(content), legacy
    except (zipfile.BadZipFile, struct.error, ValueError, EOFError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as a PyTorch file; it may be truncated") from error


def _read_archive(path: Path, file: io.BufferedReader) -> bytes:
    """The pickle of an archive whose records are not compressed."""
    size = file.seek(0, io.SEEK_END)
    records, directory = _directory(file, size)
    if records > MAX_RECORDS or directory > MAX_PICKLE:
        raise InputError(f"{path}: has more than {MAX_RECORDS} records; nothing in it was read")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if packed := [member for member in members if member.compress_type != zipfile.ZIP_STORED]:
            raise InputError(f"{path}: its record {packed[0].filename!a:.60} is packed, which PyTorch's own never are")
        if sum(member.file_size for member in members) > size:
            raise InputError(f"{path}: its records are larger than the file")
        pickles = [member for member in members if member.filename.endswith(PICKLE)]
        if len(pickles) != 1:
            raise InputError(f"{path}: cannot be read as a PyTorch file; it has {len(pickles)} records data.pkl")
        if pickles[0].file_size > MAX_PICKLE:
            raise InputError(f"{path}: its data.pkl is larger than {MAX_PICKLE} bytes; nothing in it was run")
        return archive.read(pickles[0])


def _directory(file: io.BufferedReader, size: int) -> tuple[int, int]:
    """How many records an archive claims, and the size of its directory, which `zipfile` would read at once."""
    file.seek(max(0, size - END_REACH))
    tail = file.read()
    found = tail.rfind(END)
    if found < 0:
        raise zipfile.BadZipFile("no end of an archive")
    records, directory = struct.unpack_from("<HI", tail, found + 10)
    locator = tail[max(0, found - LOCATOR_SIZE) : found]
    if locator.startswith(LOCATOR) and len(locator) == LOCATOR_SIZE:  # an archive of more than 4 GB
        file.seek(min(size, struct.unpack_from("<Q", locator, 8)[0]))
        records, directory = struct.unpack_from("<QQ", file.read(END64_SIZE), 32)
    return records, directory


def _check_pickle(path: Path, content: bytes, count: int) -> None:
    """Refuse pickles that are long, or name anything that plain tensors do not need."""
    stream, operations = io.BytesIO(content), 0
    for _ in range(count):
        for operation, argument, _ in itertools.islice(pickletools.genops(stream), MAX_OPERATIONS - operations + 1):
            operations += 1
            named = operation.name in ("GLOBAL", "INST") and argument not in PLAIN
            if named or operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                what = f"{argument or operation.name!s}"[:60]
                raise InputError(f"{path}: {NOT_PLAIN} (it names {what!a})")
        if operations > MAX_OPERATIONS:
            raise InputError(f"{path}: its pickle has more than {MAX_OPERATIONS} operations; nothing in it was run")


def _plain(path: Path, name: str, value: object) -> Tensor:
    """The value as a plain tensor without gradients; refused if it is anything else."""
    import torch

    from wan2.weights.decode import TORCH_DTYPES

    shown = name[:100]
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{path}: holds something other than a table of tensors ({shown!a})")
    tensor = value.detach()
    if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided or tensor.is_nested or tensor.is_neg():
        raise InputError(f"{path}: tensor {shown!a} is not a plain, dense one")
    if tensor.dtype not in TORCH_DTYPES.values():
        raise InputError(f"{path}: tensor {shown!a} has the dtype {tensor.dtype}, which is not read")
    if tensor.device.type != "cpu" or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise InputError(f"{path}: tensor {shown!a} of {list(tensor.shape)[:8]} has less memory than its size says")
    return tensor
