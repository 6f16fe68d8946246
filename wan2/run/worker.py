"""A process beside the first one of a run: it loads what it is told to, and computes its share of every pass.

It says nothing but signs of life, and why it ends if it ends badly. Signals are for the first process, which ends this
one; when the first is gone, this one ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from wan2.errors import Ended, InputError, RunError, is_out_of_device_memory, is_out_of_memory
from wan2.parallel.crew import END, HOME, SIGN
from wan2.parallel.launched import Launched

if TYPE_CHECKING:
    import torch

    from wan2.models.conditioning import Conditioning
    from wan2.models.transformer import WanTransformer
    from wan2.parallel.mesh import Mesh
    from wan2.parallel.orders import Order

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")


def main(rank: int, size: int) -> int:
    """Be process `rank` of `size`; the exit code.

    The first line of stdin says where the first process waits; stdout takes signs of life.
    """
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    says = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no sign of life
    threading.Thread(target=_live, args=[says], daemon=True).start()
    with Ended(partial(_tell, says)) as ended:
        import torch  # noqa: F401 - while the first process does, too

        if line := sys.stdin.readline():
            serve(Launched(rank, size, rank, size, HOME, int(line)))
    return ended.code


def _live(says: int) -> None:
    """Give signs of life, until nobody takes them: then the first process is gone."""
    while True:
        try:
            os.write(says, END)
        except OSError:
            os._exit(1)
        time.sleep(SIGN)


def _tell(says: int, error: BaseException) -> int:
    """Say why this process ends; the exit code."""
    expected = isinstance(error, InputError | RunError | OSError)
    said = str(error) if expected else f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        said = f"out of {'device ' if is_out_of_device_memory(error) else ''}memory ({said[:200]})"
    line = {"error": " ".join(said.split()), "input": isinstance(error, InputError)}
    os.write(says, json.dumps(line).encode() + END)
    return 1


def serve(process: Launched) -> None:
    """Be a process that computes with the first one, until that needs it no more."""
    import torch

    from wan2.parallel.mesh import PATIENCE, TOLD, join_mesh, leave_mesh, ready

    store = process.store()
    store.wait([TOLD], PATIENCE)
    told = json.loads(store.get(TOLD))
    torch.set_num_threads(told["threads"])
    device = torch.device("cuda", process.local) if told["device"] == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store.set(ready(process.rank), "")
    _Serving(join_mesh(store, process.rank, process.size, device)).run()
    leave_mesh()


class _Serving:
    """Does what the first process says, until it says no more."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def run(self) -> None:
        """Get ready for steps, again and again."""
        from wan2.parallel.orders import Begin, Open
        from wan2.run.models import Models

        models = None
        while isinstance(begin := self._next(), Begin):
            compute = replace(begin.compute, device=str(self.mesh.device))
            models = models or Models(begin.model, compute)
            models.keep = begin.keep
            with models.own_experts(begin.files, begin.steps, compute) as opened:
                while isinstance(order := self._next(), Open):
                    with opened(order.noise) as model:
                        self._compute(model)

    def _next(self) -> Order:
        from wan2.parallel.orders import from_bytes

        return from_bytes(self.mesh.next_order(), self.mesh.device)

    def _compute(self, model: WanTransformer) -> None:
        """This process's share of every pass, with one expert."""
        import torch

        from wan2.parallel.orders import Pass
        from wan2.parallel.share import Share

        share = None
        while isinstance(order := self._next(), Pass):
            with torch.inference_mode():
                latents = self.mesh.from_first(torch.empty(order.shape, device=self.mesh.device))
                if order.passes is not None:
                    share = Share(self.mesh, order.split, [_placed(one, self.mesh.device) for one in order.passes])
                assert share is not None
                for part in share.run(model, latents, order.timestep):
                    self.mesh.to_first(part)


def _placed(one: Conditioning, device: torch.device) -> Conditioning:
    extra = None if one.extra_channels is None else one.extra_channels.to(device)
    return replace(one, context=one.context.to(device), extra_channels=extra)
