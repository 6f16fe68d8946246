"""The first process's side: transformers whose passes all processes compute. Knows nothing of how they start."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.distributed import distributed_c10d

from wan2.errors import InputError
from wan2.parallel.mesh import FIRST, TOLD, Mesh, join_mesh, leave_mesh, ready
from wan2.parallel.orders import Leave, Open, Order, Pass, to_bytes
from wan2.parallel.share import Share

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.models.conditioning import Conditioning
    from wan2.models.transformer import WanTransformer
    from wan2.parallel.crew import Crew
    from wan2.parallel.launched import Launched
    from wan2.plan.split import Split
    from wan2.request.model import Noise


class Together:
    """The processes of a run, from inside the first.

    Args:
        mesh: how they exchange.
        crew: the others, where this process started them.
    """

    def __init__(self, mesh: Mesh, crew: Crew | Launched) -> None:
        self.mesh, self.crew = mesh, crew

    def order(self, order: Order) -> None:
        """Tell all others what to do next."""
        with self.crew.exchanging():
            self.mesh.send_order(to_bytes(order))

    @contextmanager
    def ordered(self, order: Order) -> Iterator[None]:
        """A block in which the others do what they are told; they let go of it when it ends well."""
        self.order(order)
        with ExitStack() as unless_it_ends_well:
            unless_it_ends_well.callback(self.crew.fail)
            yield
            unless_it_ends_well.pop_all()
        self.order(Leave())

    def close(self) -> None:
        """End all others."""
        if not self.crew.failed:
            self.order(Leave())
        self.crew.close(told=True)
        leave_mesh()

    @contextmanager
    def opened(
        self, noise: Noise, open_own: Callable[[Noise], AbstractContextManager[WanTransformer]]
    ) -> Iterator[SharedTransformer]:
        """An expert, loaded by all at the same time."""
        with self.ordered(Open(noise)), open_own(noise) as model:
            yield SharedTransformer(model, self)


class SharedTransformer:
    """A transformer whose passes are computed by all processes together; it has what denoising asks of one.

    Args:
        model: this process's.
        together: all of them.
        split: who computes what; see `sharing`.
    """

    def __init__(self, model: WanTransformer, together: Together, split: Split | None = None) -> None:
        self.model, self.config, self.together, self.split = model, model.config, together, split
        self._last: tuple[Conditioning, ...] = ()
        self._share: Share | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The compute dtype."""
        return self.model.dtype

    def sharing(self, split: Split | None) -> SharedTransformer:
        """The same transformer for a clip that is split so."""
        return SharedTransformer(self.model, self.together, split)

    def passes(self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning]) -> list[Tensor]:
        """The velocity of each pass, like the latents; see `WanTransformer.passes`.

        Raises:
            RunError: a process ended or hung.
        """
        if self.split is None:
            raise ValueError("nobody said how the clip is split")
        mesh, now = self.together.mesh, tuple(conditionings)
        new = len(now) != len(self._last) or any(a is not b for a, b in zip(now, self._last, strict=True))
        sent = tuple(map(_without_text, now)) if new else None
        self.together.order(Pass(self.split, timestep, tuple(latents.shape), sent))
        with self.together.crew.exchanging():
            mesh.from_first(latents.contiguous())
            if new or self._share is None:
                self._last, self._share = now, Share(mesh, self.split, now, self.together.crew.check)
            own = self._share.run(self.model, latents, timestep)
            return self._share.collect(self.model, own, latents)


def gather(crew: Crew | Launched, device: torch.device) -> Together:
    """The processes of a crew, connected with each other; each computes on a device of this kind.

    Raises:
        RunError: a process ended.
        InputError: this machine has not as many cards.
    """
    if device.type == "cuda" and torch.cuda.device_count() < crew.here:
        rule = f"this machine has {torch.cuda.device_count()} cards"
        raise InputError(rule, field="gpus", value=crew.size)
    store = crew.store()
    threads = max(1, torch.get_num_threads() // crew.size)
    store.set(TOLD, json.dumps({"device": device.type, "threads": threads}))
    while not store.check([ready(rank) for rank in range(1, crew.size)]):
        crew.check()
        time.sleep(0.02)
    if device.type == "cpu":
        torch.set_num_threads(threads)
    else:
        crew.when_lost(distributed_c10d._abort_process_group)
    with crew.exchanging():
        return Together(join_mesh(store, FIRST, crew.size, device), crew)


def _without_text(one: Conditioning) -> Conditioning:
    """The pass as others get it: they make the keys of its text themselves."""
    return one if one.text_keys is None else replace(one, text_keys={})
