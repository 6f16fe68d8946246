"""What PyTorch does before an operator is dispatched, where a build without CUDA lacks the device guard for it.

Indexing, copies between devices, and operators that are a copy inside are made of shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from benchmarks.fake_card.notes import Notes, check_devices, tensors_in

aten = torch.ops.aten
NO_GUARD = "not linked with support for cuda"


class Emulate(TorchFunctionMode):
    """Operators for tensors of a card, on a build of PyTorch for processors."""

    def __init__(self, notes: Notes) -> None:
        super().__init__()
        self.notes = notes
        self._own: dict[Any, Callable[..., Any]] = {
            Tensor.__getitem__: _indexed,
            Tensor.__setitem__: self._set_item,
            Tensor.copy_: self._copy,
            Tensor.to: self._to,
            Tensor.cpu: lambda x: self._moved(x, torch.device("cpu"), x.dtype),
            Tensor.__float__: lambda x: float(x.item()),
            torch.tensor: self._tensor,
            F.scaled_dot_product_attention: self._attend,
        }

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """An operator as code calls it."""
        del types
        kwargs = kwargs or {}
        if func in self._own:
            return self._own[func](*args, **kwargs)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if NO_GUARD not in str(error):
                raise
        return self._by_shapes(func, args, kwargs)

    def _set_item(self, x: Tensor, index: Any, value: Any) -> None:  # noqa: ANN401
        target = _indexed(x, index)
        if isinstance(value, Tensor):
            self._copy(target, value)
        else:
            target.fill_(value)

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        """Devices and dtypes may differ; only the shapes must fit."""
        if torch.broadcast_shapes(target.shape, source.shape) != target.shape:
            raise RuntimeError(f"shape {list(source.shape)} cannot be copied into {list(target.shape)}")
        waits = target.device.type != source.device.type and not non_blocking
        self.notes.ran("copy_", (target, source), target, writes=True, waits=waits)
        return target

    def _tensor(self, values: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        device = torch.device(kwargs.pop("device", None) or "cpu")
        with torch._C.DisableTorchFunction():
            made = torch.tensor(values, **kwargs)
        return self._moved(made, device, made.dtype)

    def _to(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        device, dtype = torch.device(kwargs.get("device") or x.device), kwargs.get("dtype") or x.dtype
        for word in args:
            if isinstance(word, str | torch.device):
                device = torch.device(word)
            elif isinstance(word, torch.dtype):
                dtype = word
            elif isinstance(word, Tensor):
                device, dtype = word.device, word.dtype
        if device.type != x.device.type and "meta" not in (device.type, x.device.type):
            return self._moved(x, device, dtype, kwargs.get("non_blocking", False))
        if device.type != "cuda" or "memory_format" in kwargs:
            return Tensor.to(x, *args, **kwargs)
        return x if dtype == x.dtype and not kwargs.get("copy") else self._converted(x, dtype)

    def _converted(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        made = torch.empty_like(x, dtype=dtype)
        self.notes.ran("_to_copy", x, made)
        return made

    def _moved(self, x: Tensor, device: torch.device, dtype: torch.dtype, non_blocking: bool = False) -> Tensor:
        """A tensor on another device; converted where it comes from if that is the card."""
        if device.type == x.device.type:
            return x
        if dtype != x.dtype and x.device.type == "cuda":
            x = self._converted(x, dtype)
        made = torch.empty(x.shape, dtype=dtype, device=device)
        self.notes.ran("_to_copy", x, made, waits=not non_blocking)
        return made

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:  # noqa: ANN401
        """Laid out like the queries, as the fused kernels do."""
        read = [x for x in (q, k, v, *options.values()) if isinstance(x, Tensor)]
        check_devices("attention", read)
        made = torch.empty_like(q)
        self.notes.ran("scaled_dot_product_attention", read, made)
        return made

    def _by_shapes(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """The result of an operator, of tensors without a device."""
        check_devices(func.__name__, tensors_in((args, kwargs)))
        with unset_fake_temporarily(), torch._C.DisableTorchFunction():
            made = func(*tree_map(_without_device, args), **tree_map(_without_device, kwargs))
        made = tree_map(_on_card, made)
        self.notes.ran(func.__name__, (args, kwargs), made)
        return made


def _without_device(leaf: Any) -> Any:  # noqa: ANN401
    if isinstance(leaf, torch.device):
        return torch.device("meta")
    if not isinstance(leaf, Tensor):
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")


def _on_card(leaf: Any) -> Any:  # noqa: ANN401
    if not isinstance(leaf, Tensor):
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="cuda")


def _indexed(x: Tensor, index: Any) -> Tensor:  # noqa: ANN401
    """x[index], by operators that need no device guard."""
    places = index if isinstance(index, tuple) else (index,)
    hidden = x.dim() - sum(place is not None and place is not Ellipsis for place in places)
    axis, chosen = 0, dict[int, Tensor]()
    for place in places:
        if place is Ellipsis:
            axis += hidden
        elif place is None:
            x, axis = aten.unsqueeze(x, axis), axis + 1
        elif isinstance(place, slice):
            if place != slice(None):
                x = aten.slice(x, axis, place.start, place.stop, 1 if place.step is None else place.step)
            axis += 1
        elif isinstance(place, int):
            x = aten.select(x, axis, place)
        else:
            chosen[axis] = torch.tensor(place) if isinstance(place, list) else place
            axis += 1
    return aten.index(x, [chosen.get(axis) for axis in range(max(chosen) + 1)]) if chosen else x
