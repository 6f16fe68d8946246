"""The names, dtypes and shapes of the tensors in PyTorch's own files, read without PyTorch. Runs nothing of them.

The pickle of such a file is checked first (`pickled.py`): it names only what plain tensors need. Here each of those
names stands for a function that notes what it was given.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.weights.dtypes import DTYPES
from wan2.weights.kinds.kind import Table
from wan2.weights.pickled import LEGACY_PICKLES, PLAIN, read_pickle

# What the classes of storages are called, by the dtype of their values.
STORAGES = {"Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32"}
STORAGES |= {"Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL"}
OF_STORAGE = {f"{name}Storage": dtype for name, dtype in STORAGES.items()}
BY_TORCH = {DTYPES[name].torch: name for name in ("F8_E4M3", "F8_E5M2")}
SHOWN = 100


class Noted(NamedTuple):
    """A tensor, as the pickle tells of it."""

    dtype: str
    shape: tuple[int, ...]


def pickled_table(path: Path) -> Table:
    """Name -> (dtype, shape) of a PyTorch file of plain tensors, without PyTorch.

    Raises:
        InputError: as `pickled.unpickle`: the file cannot be read or holds anything but a table of tensors.
    """
    with Reading(str(path)):
        stream, legacy = read_pickle(path)
        content = _content(path, stream, LEGACY_PICKLES - 1 if legacy else 1)
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise InputError(f"{path}: holds something other than a table of tensors")
        odd = [name for name, value in content.items() if not _is_sound(value)]
        if odd:
            raise InputError(f"{path}: holds something other than a table of tensors ({odd[0][:SHOWN]!a})")
        return {name: (value.dtype, value.shape) for name, value in content.items()}


def _content(path: Path, stream: io.BytesIO, count: int) -> object:
    """The last of so many pickles."""
    content: object = None
    try:
        for _ in range(count):
            content = _Unpickler(stream).load()
    except (pickle.UnpicklingError, TypeError, ValueError, AttributeError, LookupError, EOFError) as error:
        raise InputError(f"{path}: holds something other than a table of tensors") from error
    return content


def _is_sound(value: object) -> bool:
    if not isinstance(value, Noted):
        return False
    sizes = value.shape if isinstance(value.shape, tuple) else (None,)
    return value.dtype in DTYPES and all(type(size) is int and 0 <= size < 2**63 for size in sizes)


def _tensor(storage: str, _offset: object, shape: Any, *_rest: object) -> Noted:  # noqa: ANN401
    return Noted(storage, tuple(shape))


def _typed_tensor(_storage: str, _offset: object, shape: Any, *rest: Any) -> Noted:  # noqa: ANN401
    """Of a storage without a type; strides, gradients and hooks stand before the dtype."""
    return Noted(rest[3], tuple(shape))


def _parameter(tensor: Noted, *_: object) -> Noted:
    return tensor


MAKERS: dict[str, Callable[..., object]] = {
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _typed_tensor,
    "_rebuild_parameter": _parameter,
    "OrderedDict": OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `PLAIN`, each by what stands for it here."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if f"{module} {name}" not in PLAIN:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return MAKERS.get(name) or OF_STORAGE.get(name) or BY_TORCH.get(name, "")

    def persistent_load(self, pid: Any) -> str:  # noqa: ANN401
        """A storage, of which only the type of its values is wanted."""
        return str(pid[1])
