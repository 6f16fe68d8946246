"""What a piece of PyTorch code does, counted while it runs, also on tensors without numbers: bytes alive, waits."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What makes the host wait for the device: a value read back, or a result whose size only the device knows.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero")


class _Watch(TorchDispatchMode):
    """Lets every operator run, and has `see` look at it."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run the operator, and look at it."""
        del types
        out = func(*args, **(kwargs or {}))
        self.see(func.overloadpacket.__name__, args, kwargs or {}, out)
        return out

    def see(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:  # noqa: ANN401
        """An operator, what it was given and what it made."""
        raise NotImplementedError


class LiveBytes(_Watch):
    """The most bytes alive at once among tensors made inside, views counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._known: set[int] = set()

    def see(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:  # noqa: ANN401
        """Follow what the operator made."""
        del name, args, kwargs
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


class Waits(_Watch):
    """The operators called inside that make the host wait for the device, in order, and how many there were in all."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.operators = 0

    def see(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:  # noqa: ANN401
        """Note the operator."""
        del out
        self.operators += 1
        between_devices = name == "_to_copy" and kwargs.get("device") not in (None, args[0].device)
        if name.startswith(WAITS) or between_devices:
            self.found.append(name)
