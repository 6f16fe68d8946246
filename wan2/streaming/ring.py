"""Blocks of a transformer on the device only while they run: a ring of two or three, filled ahead of the computation.

Weights travel one way, from the file or from a copy of it in host memory to the device. One thread reads, in the order
in which the blocks will be wanted; a slot is filled again only when its block was given back. Knows nothing of steps.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, cast

import torch

from wan2.models.transformer import TransformerConfig, WanTransformer
from wan2.streaming.copies import HostMemory, Lane, lane_to
from wan2.streaming.layout import BlockFile, LayeredFile, Layout, Lent, StoredBlock
from wan2.streaming.residency import RING_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Sequence
    from concurrent.futures import Future

    from torch import Tensor

    from wan2.models.conditioning import Conditioning
    from wan2.models.layers import Block

THREAD_NAME = "block-reader"


@contextmanager
def block_ring(
    layouts: Collection[Layout],
    orders: Iterator[StoredBlock],
    device: torch.device,
    places: Sequence[int],
    slots: int = RING_BLOCKS,
) -> Iterator[BlockRing]:
    """A ring that lends the blocks of `orders`, one after the other; reading begins at once.

    Args:
        layouts: every layout that a block among them has.
        orders: every block in the order in which it will be borrowed; may be endless.
        device: where the blocks are wanted.
        places: bytes of each place in host memory that blocks go through in turn. As many places as blocks in a turn,
            and each is read from its file only once; two, and the host holds no more than what is on its way. None at
            all (only where the device is the host), and they are read straight into their slots.
        slots: blocks of device memory.

    On leaving, however it is left, the thread has ended and all memory is given back.
    """
    with ExitStack() as stack:
        lane = stack.enter_context(closing(lane_to(device, slots, len(places))))
        host = stack.enter_context(closing(HostMemory(sum(places), lane.pinned)))
        ring = BlockRing(layouts, orders, device, host.bytes.split(list(places)), lane, slots)
        stack.callback(ring.close)
        ring.start()
        yield ring


class BlockRing:
    """See `block_ring`."""

    def __init__(
        self,
        layouts: Collection[Layout],
        orders: Iterator[StoredBlock],
        device: torch.device,
        places: Sequence[Tensor],
        lane: Lane,
        slots: int,
    ) -> None:
        self.device = device
        self._orders, self._lane = orders, lane
        with torch.inference_mode(False):
            size = max(layout.nbytes for layout in layouts)
            self._slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(slots)]
            self._blocks = [{layout: layout.block(slot) for layout in layouts} for slot in self._slots]
        self._places = list(places)
        self._in_slot: list[StoredBlock | None] = [None] * slots
        self._in_place: list[StoredBlock | None] = [None] * len(self._places)
        self._ordered = 0
        self._source: tuple[LayeredFile | None, int] = (None, 0)
        self._due: deque[tuple[StoredBlock, int, Future[None]]] = deque()
        self._reader = ThreadPoolExecutor(1, THREAD_NAME)

    def start(self) -> None:
        """Begin to fill every slot."""
        for _ in self._slots:
            self._order_next()

    @contextmanager
    def borrow(self, wanted: StoredBlock) -> Iterator[Lent]:
        """The next block of the orders, which must be `wanted`, until the context is left.

        Raises:
            RunError: it could not be read.
            RuntimeError: another one is next: a pass was given up, or one was run that was not ordered.
        """
        if not self._due or self._due[0][0] != wanted:
            raise RuntimeError(f"{wanted} is wanted, next is {self._due[0][0] if self._due else 'none'}")
        _, slot, filled = self._due.popleft()
        filled.result()
        self._lane.begin_use(slot)
        yield self._blocks[slot][wanted.layout]
        self._lane.end_use(slot)
        self._order_next()

    def give_up_all_but(self, file: LayeredFile) -> None:
        """Pass over what is ordered from other files, so that a block of `file` is next."""
        while self._due and self._due[0][0].file is not file:
            self._due.popleft()[2].result()
            self._order_next()

    def close(self) -> None:
        """End the thread and let go of the slots, whoever still holds one of their blocks."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._lane.close()
        for block in chain.from_iterable(blocks.values() for blocks in self._blocks):
            block.to("meta")
        self._due.clear()
        self._slots, self._places = [], []

    def _order_next(self) -> None:
        """Have the slot that was given back longest ago filled with the block that is wanted after all others."""
        order = next(self._orders, None)
        if order is not None:
            slot, self._ordered = self._ordered % len(self._slots), self._ordered + 1
            # The first block of every file comes to the first place, whatever became of those before it.
            turn = self._source[1] if order.file is self._source[0] else 0
            self._source = order.file, turn + 1
            self._due.append((order, slot, self._reader.submit(self._fill, order, slot, turn)))

    @torch.inference_mode()
    def _fill(self, order: StoredBlock, slot: int, turn: int) -> None:
        if self._in_slot[slot] == order:
            return
        self._in_slot[slot] = None
        if self._places:
            place = turn % len(self._places)
            if self._in_place[place] != order:
                self._in_place[place] = None
                self._lane.await_place(place)
                order.file.read(order.index, self._places[place])
                self._in_place[place] = order
            size = order.layout.nbytes
            self._lane.copy(place, self._places[place][:size], slot, self._slots[slot][:size])
        else:
            order.file.read(order.index, self._slots[slot])
        self._in_slot[slot] = order


class StreamedTransformer(WanTransformer):
    """A transformer that borrows some of its blocks. Its own modules of those have no memory.

    apart: passes run one after the other, so that one of them is in memory, and a block comes once for each.
    """

    def __init__(
        self, config: TransformerConfig, ring: BlockRing, file: BlockFile, streamed: Collection[int], apart: bool
    ) -> None:
        super().__init__(config)
        self._ring, self.file, self._streamed, self._apart = ring, file, frozenset(streamed), apart

    def passes(self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning]) -> list[Tensor]:
        """All passes together, a block coming once for all of them, unless they are to run apart."""
        run = super().passes if self._apart else self.run_together
        return run(latents, timestep, conditionings)

    def take_blocks(self) -> Generator[Block]:
        """The blocks in order, borrowed or its own."""
        for index, block in enumerate(super().take_blocks()):
            if index in self._streamed:
                with self._ring.borrow(StoredBlock(self.file, index)) as borrowed:
                    yield cast("Block", borrowed)
            else:
                yield block
