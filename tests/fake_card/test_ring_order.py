"""Nothing of the ring is written while it is read, whatever the streams of a GPU do; and the check notices mutants."""

from __future__ import annotations

import random
import time
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.fake_card.order import Event, Order, OrderedExecutor, Stream
from wan2.errors import RunError
from wan2.streaming import copies, ring
from wan2.streaming.layout import StoredBlock

CPU = torch.device("cpu")
LAYER_BYTES = 64
# How often a copy is held up, so that threads meet in other orders.
HELD_UP, FOR_SECONDS = 0.2, 0.0005


@dataclass(eq=False)
class Scenario:
    """One run of a ring: experts one after the other, each with so many passes over its blocks.

    from_ram: as many buffers as blocks. apart: every pass fetches the blocks. short: the first expert ends after one
    pass. stop: Ctrl-C after so many blocks. fails: which read of the first expert fails.
    """

    blocks: int = 40
    experts: int = 2
    passes: int = 3
    slots: int = 2
    buffers: int = 2
    from_ram: bool = False
    apart: bool = False
    short: bool = False
    stop: int | None = None
    fails: int | None = None
    order: Order = field(default_factory=Order)
    content: dict[Hashable, tuple[str, int]] = field(default_factory=dict)
    """What lies in each slot and buffer: the file and the block."""

    def buffer_sizes(self) -> list[int]:
        return [LAYER_BYTES] * (self.blocks if self.from_ram else self.buffers)


class Layer:
    """A layer in a slot."""

    def __init__(self, scenario: Scenario, slot: Tensor) -> None:
        self.scenario, self.slot = scenario, slot_of(slot)

    def to(self, device: str) -> None:
        """The ring lets go of the memory."""
        assert device == "meta"
        self.scenario.order.access(self.scenario.order.thread, self.slot, "memory freed", writes=True)


class Place:
    """The layout of every layer."""

    nbytes = LAYER_BYTES

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def in_slot(self, memory: Tensor) -> Layer:
        return Layer(self.scenario, memory)


class File:
    """A file of layers that says when a buffer is written."""

    def __init__(self, scenario: Scenario, place: Place, name: str, fails: int | None) -> None:
        self.scenario, self.path, self.fails = scenario, Path(name), fails
        self.layouts = [place] * scenario.blocks
        self.reads = 0

    def read(self, index: int, memory: Tensor) -> None:
        self.reads += 1
        if self.reads == self.fails:
            raise RunError("Input/output error")
        order, buffer = self.scenario.order, buffer_of(memory)
        order.access(order.thread, buffer, f"read of {self.path} {index}", writes=True)
        self.scenario.content[buffer] = (self.path.name, index)

    def read_ahead(self, index: int) -> None: ...


def slot_of(memory: Tensor) -> Hashable:
    return "slot", memory.untyped_storage().data_ptr()


def buffer_of(memory: Tensor) -> Hashable:
    return "buffer", memory.storage_offset()


@contextmanager
def fake_cuda(scenario: Scenario, mutant: str = "") -> Iterator[None]:
    """CUDA's streams and events, the ring's thread, its copies and its pinned memory as far as order goes."""
    order, names, rng = scenario.order, iter(range(100)), random.Random(0)

    def copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:  # noqa: ARG001
        buffer, slot = buffer_of(source), slot_of(target)
        order.queue(order.current, buffer, f"copy out of {buffer}", writes=False)
        order.queue(order.current, slot, f"copy into {slot}", writes=True)
        order.queue(order.current, "memory of before", "first use of memory that others had", writes=True)
        scenario.content[slot] = scenario.content[buffer]
        if rng.random() < HELD_UP:
            time.sleep(FOR_SECONDS)
        return target

    def unregister(_: Tensor) -> None:
        for buffer in order.memories("buffer"):
            order.access(order.thread, buffer, "memory unpinned", writes=True)

    # A kernel of somebody else that may still use the memory that the slots get.
    order.queue(order.computing, "memory of before", "a kernel of before", writes=True)
    executor = type("Executor", (OrderedExecutor,), {"order": order})
    with ExitStack() as stack:
        patch = partial(_patch, stack)
        patch(torch.cuda, "Stream", lambda *_: Stream(order, f"copy stream {next(names)}"))
        patch(torch.cuda, "Event", lambda: Event(order))
        patch(torch.cuda, "current_stream", lambda *_: order.current)
        patch(torch.cuda, "stream", order.on)
        patch(ring, "copy_stream", copies.CudaCopyStream)
        patch(ring, "ThreadPoolExecutor", executor)
        patch(copies, "_register", lambda *_: 0)
        patch(copies, "_unregister", unregister)
        patch(Tensor, "copy_", copy)
        if mutant == "wait_stream":
            patch(Stream, "wait_stream", lambda *_: None)
        elif mutant:
            patch(copies.CudaCopyStream, mutant, lambda *_: None)
        yield


def _patch(stack: ExitStack, owner: Any, name: str, value: Any) -> None:  # noqa: ANN401
    stack.enter_context(mock.patch.object(owner, name, value))


def run(scenario: Scenario, mutant: str = "") -> tuple[list[str], BaseException | None]:
    """The races of a run, and how it ended."""
    place = Place(scenario)
    files = [File(scenario, place, f"expert{n}", scenario.fails if n == 0 else None) for n in range(scenario.experts)]
    rounds = scenario.passes * (2 if scenario.apart else 1)
    announced = [StoredBlock(f, i) for f in files for _ in range(rounds) for i in range(scenario.blocks)]
    ended: BaseException | None = None
    with fake_cuda(scenario, mutant):
        try:
            blocks = ring.block_ring([place], iter(announced), CPU, scenario.buffer_sizes(), scenario.slots)
            with blocks as opened:
                _compute(scenario, opened, announced, files)
        except (KeyboardInterrupt, RunError) as error:
            ended = error
    return scenario.order.races, ended


def _compute(scenario: Scenario, opened: ring.BlockRing, announced: list[StoredBlock], files: list[File]) -> None:
    """Both passes of every block, or one after the other, and the switch from one expert to the next."""
    order, done, skipped = scenario.order, 0, False
    for block in announced:
        if scenario.short and block.file is files[0] and done >= scenario.blocks:
            continue
        if scenario.short and block.file is files[1] and not skipped:
            opened.skip_to(block.file)
            skipped = True
        with opened.use(block) as layer:
            for number in range(1 if scenario.apart else 2):
                held = scenario.content[layer.slot]
                if held != (block.file.path.name, block.index):
                    order.races.append(f"{layer.slot} holds {held}, not {block}")
                order.queue(order.computing, layer.slot, f"pass {number} of {block.index}", writes=False)
            if done == scenario.stop:
                raise KeyboardInterrupt
        done += 1


SCENARIOS: dict[str, dict[str, Any]] = {
    "from disk": {},
    "from ram": {"from_ram": True},
    "passes apart": {"apart": True},
    "text encoder, one slot": {"slots": 1, "experts": 1, "passes": 1},
    "three slots": {"slots": 3, "buffers": 3},
    "one block": {"blocks": 1},
    "two blocks": {"blocks": 2},
    "stopped": {"stop": 17},
    "stopped at once": {"stop": 0},
    "read fails at once": {"fails": 1},
    "read fails": {"fails": 33},
    "expert cut short": {"short": True},
    "expert cut short, from ram": {"short": True, "from_ram": True},
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_access_is_ordered(name: str) -> None:
    races, ended = run(Scenario(**SCENARIOS[name]))
    assert races == []
    expected = {"stop": KeyboardInterrupt, "fails": RunError}
    kinds = tuple(kind for how, kind in expected.items() if how in SCENARIOS[name])
    assert isinstance(ended, kinds) if kinds else ended is None


@pytest.mark.parametrize("mutant", ["wait_for_buffer", "begin_use", "end_use", "close", "wait_stream"])
def test_what_is_left_out_is_noticed(mutant: str) -> None:
    assert run(Scenario(stop=17 if mutant == "close" else None), mutant)[0]
