"""What code asked of a card that is not there: kernels and bytes, memory alive, where the host waited.

Every operator is looked at as PyTorch dispatches it. Tensors have shapes, dtypes, strides and devices, but no numbers.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).parents[2]
OWN = (str(ROOT / "wan2"), str(ROOT / "holocine_ext"))
# The host reads a value, or a size that only the device knows.
VALUES = ("_local_scalar_dense", "item", "is_nonzero", "equal")
SIZES = ("nonzero", "masked_select", "unique")
COPIES = ("copy_", "_to_copy")
# No kernel runs: a view, or memory that nothing is written to.
NO_KERNEL = {
    "view", "_unsafe_view", "slice", "select", "transpose", "t", "permute", "expand", "unsqueeze", "squeeze", "split",
    "unbind", "as_strided", "detach", "alias", "split_with_sizes", "empty", "empty_like", "empty_strided", "new_empty",
    "lift_fresh", "unfold", "chunk", "narrow", "_reshape_alias", "diagonal", "new_empty_strided",
}  # fmt: skip
# Products and norms do not promote; without numbers, PyTorch would let them.
ONE_DTYPE = {
    "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "convolution", "scaled_dot_product_attention", "layer_norm",
    "native_layer_norm", "group_norm", "rms_norm", "_fused_rms_norm",
}  # fmt: skip
# Of the tensors of any other operator PyTorch checks nothing while they have no numbers.
OF_PYTORCH = ("aten", "prim", "prims")
FILLS = ("fill_", "zero_", "zeros", "ones", "full", "randn", "arange")


class Wait(NamedTuple):
    """An operator that makes the host wait for the card, and the line that called it."""

    operator: str
    line: str


class Memory(NamedTuple):
    """Memory of the card that was taken or given back."""

    what: Literal["taken", "freed"]
    key: int
    nbytes: int


class Notes:
    """What was asked of a card.

    kernels, moved: how often each kernel was started, and the bytes that all of them read and write. alive, peak: bytes
    of tensors. memory: every allocation in order.
    """

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.kernels: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.alive = self.peak = 0
        self.memory: list[Memory] = []
        self._known: set[int] = set()

    def restart(self) -> None:
        """Forget everything but what is alive."""
        self.waits.clear()
        self.kernels.clear()
        self.moved.clear()
        self.memory.clear()
        self.forget_peak()

    def forget_peak(self) -> None:
        """Only what is alive counts from here on."""
        self.peak = self.alive

    def waited(self, operator: str) -> None:
        """The host waits."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith(OWN):
            frame = frame.f_back
        line = "" if frame is None else f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno}"
        self.waits.append(Wait(operator, line))

    def ran(self, name: str, given: Any, made: Any, *, writes: bool = False, waits: bool = False) -> None:  # noqa: ANN401
        """An operator.

        Args:
            name: of the operator.
            given, made: the tensors that it reads and those that it writes, in any nest.
            writes: they are written in place, so that no result is only a view.
            waits: the host waits for it.

        Raises:
            RuntimeError: a card would refuse its dtypes.
        """
        ins, outs = (tensors_in(nest) for nest in (given, made))
        _check_dtypes(name, ins)
        if not any(map(_on_card, ins + outs)):
            return
        if waits or name.startswith(SIZES):
            self.waited(name)
        for tensor in filter(_on_card, outs):
            self._follow(tensor.untyped_storage())
        if outs and name not in NO_KERNEL and (writes or not _are_views(outs, ins)):
            self.kernels[name] += 1
            self.moved[name] += _moved(name, ins, outs)

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        self.memory.append(Memory("taken", key, size))
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size
        self.memory.append(Memory("freed", key, size))


class Watch(TorchDispatchMode):
    """Lets every operator run and notes it. Values that nobody knows are `truth`, a thousandth, or one."""

    def __init__(self, notes: Notes, truth: bool = True) -> None:
        super().__init__()
        self.notes, self.truth = notes, truth

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run an operator, and note it."""
        del types
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        tensors = tensors_in((args, kwargs))
        if func.namespace not in OF_PYTORCH:
            check_devices(name, tensors)
        if name in VALUES and any(_is_unknown(tensor) for tensor in tensors):
            if any(map(_on_card, tensors)):
                self.notes.waited(name)
            return self._value(tensors[0].dtype)
        if tensors and all(tensor.device.type == "meta" and not isinstance(tensor, FakeTensor) for tensor in tensors):
            with unset_fake_temporarily():  # modules that are still without memory
                return func(*args, **kwargs)
        made = func(*args, **kwargs)
        given, written = _read_and_written(func, args, kwargs)
        self.notes.ran(name, given, written if made is None else made, writes=func._schema.is_mutable)
        return made

    def _value(self, dtype: torch.dtype) -> bool | float | int:
        if dtype == torch.bool:
            return self.truth
        return 1e-3 if dtype.is_floating_point else 1


def _read_and_written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], list[Any]]:  # noqa: ANN401
    """The arguments that an operator reads and those that it only writes: what is called `out`."""
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    out = given.pop("out", None)
    return list(given.values()), [out]


def span(tensor: Tensor) -> int:
    """Bytes that are read or written when every element is touched once; along a broadcast axis only one is."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride != 0 or size == 0 else 1
    return elements * tensor.element_size()


def _moved(name: str, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> int:
    """Bytes that a kernel reads and writes; what it changes in place is read, too."""
    if name in COPIES:
        return span(ins[-1]) + span(outs[0])
    if name in FILLS:
        return sum(map(span, outs))
    if name == "index":
        return 2 * sum(map(span, outs))
    return sum(map(span, ins)) + sum(map(span, outs))


def _check_dtypes(name: str, ins: Sequence[Tensor]) -> None:
    kinds = {tensor.dtype for tensor in ins if _on_card(tensor) and tensor.is_floating_point()}
    if name in ONE_DTYPE and len(kinds) > 1:
        raise RuntimeError(f"{name}: expected one dtype, found {', '.join(sorted(map(str, kinds)))}")


def check_devices(name: str, tensors: Sequence[Tensor]) -> None:
    """Raise `RuntimeError` if tensors that are more than a number are on more than one kind of device."""
    devices = {tensor.device.type for tensor in tensors if tensor.dim()}
    if len(devices) > 1:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {sorted(devices)}")


def _are_views(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    memories = {other.untyped_storage()._cdata for other in others}
    return all(tensor.untyped_storage()._cdata in memories for tensor in tensors)


def tensors_in(nest: Any) -> list[Tensor]:  # noqa: ANN401
    """The tensors in any nest."""
    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, Tensor)]


def _is_unknown(tensor: Tensor) -> bool:
    return _on_card(tensor) or (isinstance(tensor, FakeTensor) and tensor.constant is None)


def _on_card(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"
