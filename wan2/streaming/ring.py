"""Blocks of a transformer on the device only while they run: a ring of two or three slots, filled ahead of use.

Weights move one way only, from the file, or from a copy of it in host memory, to the device. One thread reads, in the
order in which the blocks will be used; a slot is filled again only when its block is no longer in use. Knows nothing of
steps.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, cast

import torch

from wan2.models.transformer import TransformerConfig, WanTransformer
from wan2.streaming.copies import CopyStream, HostMemory, copy_stream, ignore
from wan2.streaming.layout import BlockFile, LayeredFile, Layout, OnDevice, StoredBlock
from wan2.streaming.residency import RING_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence
    from concurrent.futures import Future

    from torch import Tensor

    from wan2.models.conditioning import Conditioning
    from wan2.models.layers import Block
    from wan2.models.transformer import Rows

THREAD_NAME = "block-reader"


@contextmanager
def block_ring(
    layouts: Collection[Layout],
    schedule: Iterator[StoredBlock],
    device: torch.device,
    buffers: Sequence[int],
    slots: int = RING_BLOCKS,
    note: Callable[[str], None] = ignore,
) -> Iterator[BlockRing]:
    """A ring that hands out the blocks of a schedule, one after the other; reading begins at once.

    Args:
        layouts: every layout that a block of the schedule has.
        schedule: every block in the order in which it will be used; may be endless.
        device: where the blocks are needed.
        buffers: bytes of each staging buffer in host memory; blocks go through them in rotation. With as many buffers
            as one pass has blocks, each block is read from its file only once. With two, the host holds only what is
            being copied. With none, which is possible only if the device is the CPU, blocks are read straight into
            their slots.
        slots: blocks of device memory.
        note: gets a line if staging buffers cannot be pinned.

    When the context is left, normally or by an exception, the thread has ended and all memory is released.
    """
    with ExitStack() as stack:
        copies = stack.enter_context(closing(copy_stream(device, slots, len(buffers))))
        host = stack.enter_context(closing(HostMemory(sum(buffers), device if copies.pinned else None, note)))
        ring = BlockRing(layouts, schedule, device, host.bytes.split(list(buffers)), copies, slots)
        stack.callback(ring.close)
        ring.start()
        yield ring


class BlockRing:
    """See `block_ring`."""

    def __init__(
        self,
        layouts: Collection[Layout],
        schedule: Iterator[StoredBlock],
        device: torch.device,
        buffers: Sequence[Tensor],
        copies: CopyStream,
        slots: int,
    ) -> None:
        self.device = device
        self._schedule, self._copies = schedule, copies
        with torch.inference_mode(False):
            size = max(layout.nbytes for layout in layouts)
            self._slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(slots)]
            self._blocks = [{layout: layout.in_slot(slot) for layout in layouts} for slot in self._slots]
        self._buffers = list(buffers)
        self._in_slot: list[StoredBlock | None] = [None] * slots
        self._in_buffer: list[StoredBlock | None] = [None] * len(self._buffers)
        self._fetched = 0
        self._source: tuple[LayeredFile | None, int] = (None, 0)
        self._due: deque[tuple[StoredBlock, int, Future[None]]] = deque()
        self._reader = ThreadPoolExecutor(1, THREAD_NAME)

    def start(self) -> None:
        """Begin to fill every slot."""
        for _ in self._slots:
            self._fetch_next()

    @contextmanager
    def use(self, wanted: StoredBlock) -> Iterator[OnDevice]:
        """The next block of the schedule, which must be `wanted`, on the device until the context is left.

        Raises:
            RunError: it could not be read.
            RuntimeError: another one is next: a pass was interrupted, or one was run that is not in the schedule.
        """
        if not self._due or self._due[0][0] != wanted:
            raise RuntimeError(f"{wanted} is wanted, next is {self._due[0][0] if self._due else 'none'}")
        _, slot, filled = self._due.popleft()
        filled.result()
        self._copies.begin_use(slot)
        yield self._blocks[slot][wanted.layout]
        self._copies.end_use(slot)
        self._fetch_next()

    def skip_to(self, file: LayeredFile) -> None:
        """Skip what is due from other files, so that a block of `file` is next."""
        while self._due and self._due[0][0].file is not file:
            self._due.popleft()[2].result()
            self._fetch_next()

    def close(self) -> None:
        """End the thread and release the slots, even where one of their blocks is still referenced."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._copies.close()
        for block in chain.from_iterable(blocks.values() for blocks in self._blocks):
            block.to("meta")
        self._due.clear()
        self._slots, self._buffers = [], []

    def _fetch_next(self) -> None:
        """Have the slot that was free first filled with the next block of the schedule that is not fetched yet."""
        block = next(self._schedule, None)
        if block is not None:
            slot, self._fetched = self._fetched % len(self._slots), self._fetched + 1
            # The first block of every file goes to the first buffer, whatever was skipped before it.
            count = self._source[1] if block.file is self._source[0] else 0
            self._source = block.file, count + 1
            self._due.append((block, slot, self._reader.submit(self._fill, block, slot, count)))

    @torch.inference_mode()
    def _fill(self, block: StoredBlock, slot: int, count: int) -> None:
        """Fill a slot. count: how many blocks of the same file came before."""
        if self._in_slot[slot] == block:
            return
        self._in_slot[slot] = None
        if self._buffers:
            buffer = count % len(self._buffers)
            reads = self._in_buffer[buffer] != block
            if reads:
                self._in_buffer[buffer] = None
                self._copies.wait_for_buffer(buffer)
                block.file.read(block.index, self._buffers[buffer])
                self._in_buffer[buffer] = block
            size = block.layout.nbytes
            self._copies.copy(buffer, self._buffers[buffer][:size], slot, self._slots[slot][:size])
            if reads:
                block.file.read_ahead(block.index)
        else:
            block.file.read(block.index, self._slots[slot])
        self._in_slot[slot] = block


class StreamedTransformer(WanTransformer):
    """A transformer that takes some of its blocks from a ring. Its own modules of those have no memory.

    apart: passes run one after the other, so that only one of them is in memory, and every block is fetched once for
    each pass.
    """

    def __init__(
        self, config: TransformerConfig, ring: BlockRing, file: BlockFile, streamed: Collection[int], apart: bool
    ) -> None:
        super().__init__(config)
        self._ring, self.file, self._streamed, self._apart = ring, file, frozenset(streamed), apart

    def passes(
        self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning], rows: Rows = None
    ) -> list[Tensor]:
        """All passes together, every block fetched once for all of them, unless they run apart."""
        run = super().passes if self._apart else self.run_together
        return run(latents, timestep, conditionings, rows)

    def take_blocks(self) -> Generator[Block]:
        """The blocks in order, from the ring or its own."""
        for index, block in enumerate(super().take_blocks()):
            if index in self._streamed:
                with self._ring.use(StoredBlock(self.file, index)) as streamed:
                    yield cast("Block", streamed)
            else:
                yield block
