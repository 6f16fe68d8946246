"""What the processes of a run send each other: orders, latents, blocks of keys, heads, results. Counts the bytes.

Knows nothing of attention. Processes are numbered; 0 is the one that makes the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate, pairwise
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

# Processes that wait for the next scene, or a person's answer, wait as long as it takes: those that fail are noticed by
# other means.
PATIENCE = timedelta(days=30)
FIRST = 0
TOLD = "told"
"""What the first process leaves in the store for the others, as JSON: `device` and `threads`."""


@dataclass
class Traffic:
    """Bytes that this process sent to others, and received from them, since it began to count."""

    sent: int = 0
    received: int = 0


@dataclass
class Mesh:
    """The processes of a run, from inside one of them.

    rank, size: its number, and how many there are. device: where it computes. latents: what went to and from the first
    process besides orders. attention: what attentions exchanged.
    """

    rank: int
    size: int
    device: torch.device
    latents: Traffic = field(default_factory=Traffic)
    attention: Traffic = field(default_factory=Traffic)
    _meshes: dict[tuple[int, int], DeviceMesh] = field(default_factory=dict)

    def send_order(self, data: bytes) -> None:
        """From the first process to all others."""
        dist.broadcast(torch.tensor([len(data)]), FIRST)
        dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), FIRST)

    def next_order(self) -> bytes:
        """What the first process sends next."""
        size = torch.empty(1, dtype=torch.int64)
        dist.broadcast(size, FIRST)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, FIRST)
        return data.numpy().tobytes()

    def from_first(self, tensor: Tensor) -> Tensor:
        """A tensor of the first process, in all of them; in the others what is given is written to."""
        dist.broadcast(tensor, FIRST)
        self._count(sent=(self.size - 1) * tensor.nbytes if self.rank == FIRST else 0)
        self._count(received=0 if self.rank == FIRST else tensor.nbytes)
        return tensor

    def to_first(self, tensor: Tensor) -> None:
        """Send a tensor to the first process."""
        dist.send(tensor.contiguous(), FIRST)
        self._count(sent=tensor.nbytes)

    def receive(self, shape: Sequence[int], dtype: torch.dtype, rank: int) -> Tensor:
        """In the first process: the next tensor that another one sends."""
        tensor = torch.empty(tuple(shape), dtype=dtype, device=self.device)
        dist.recv(tensor, rank)
        self._count(received=tensor.nbytes)
        return tensor

    def team(self, passes: int, ways: int) -> Team:
        """Those processes that share a pass with this one; every process must ask for it at the same time."""
        shape = passes, ways
        if shape not in self._meshes:
            self._meshes[shape] = init_device_mesh(self.device.type, shape, mesh_dim_names=("pass", "way"))
        mesh = self._meshes[shape]
        return Team(mesh.get_group("way"), mesh.get_local_rank("way"), ways, self.attention)

    def _count(self, sent: int = 0, received: int = 0) -> None:
        self.latents.sent += sent
        self.latents.received += received


@dataclass(frozen=True)
class Team:
    """The processes that share a pass. way: the number of this one among the `ways`."""

    group: dist.ProcessGroup
    way: int
    ways: int
    traffic: Traffic

    def gather(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """own [n, ...] -> those of everybody [sum(counts), ...], in the order of the ways. counts: of each."""
        whole = own.new_empty(sum(counts), *own.shape[1:])
        for way, part in enumerate(whole.split(list(counts))):
            if way == self.way:
                part.copy_(own)
                self.traffic.sent += own.nbytes * (self.ways - 1)
            elif len(part):
                self.traffic.received += part.nbytes
            if len(part):
                dist.broadcast(part, group=self.group, group_src=way)
        return whole

    def to_heads(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Own tokens, all heads [B, n, H, D] -> all tokens, own heads [B, L, h, D]; lengths: tokens of each way."""
        batch, own, heads, width = x.shape
        parts = [x[:, :, a:b].flatten() for a, b in self._heads(heads)]
        mine = self._heads(heads)[self.way]
        shapes = [(batch, length, mine[1] - mine[0], width) for length in lengths]
        return torch.cat(self._swap(parts, shapes), dim=1)

    def to_tokens(self, x: Tensor, lengths: Sequence[int], heads: int) -> Tensor:
        """All tokens, own heads [B, L, h, D] -> own tokens, all `heads` [B, n, H, D]."""
        batch, _, _, width = x.shape
        parts = [part.flatten() for part in x.split(list(lengths), dim=1)]
        shapes = [(batch, lengths[self.way], b - a, width) for a, b in self._heads(heads)]
        return torch.cat(self._swap(parts, shapes), dim=2)

    def _heads(self, heads: int) -> list[tuple[int, int]]:
        """The heads of each way."""
        return list(pairwise(heads * way // self.ways for way in range(self.ways + 1)))

    def _swap(self, parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Give each way a part; what each gives in return, in these shapes."""
        sizes = [prod(shape) for shape in shapes]
        found = parts[0].new_empty(sum(sizes))
        dist.all_to_all_single(found, torch.cat(list(parts)), sizes, [len(part) for part in parts], group=self.group)
        self.traffic.sent += sum(part.nbytes for way, part in enumerate(parts) if way != self.way)
        self.traffic.received += found.nbytes - sizes[self.way] * found.itemsize
        edges = pairwise((0, *accumulate(sizes)))
        return [found[a:b].view(shape) for (a, b), shape in zip(edges, shapes, strict=True)]


def ready(rank: int) -> str:
    """What a process leaves in the store when it is about to join."""
    return f"ready {rank}"


def join_mesh(store: dist.Store, rank: int, size: int, device: torch.device) -> Mesh:
    """Become process `rank` of `size`, which meet by a store; on the CPU by gloo, on cards by NCCL."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return Mesh(rank, size, device)


def leave_mesh() -> None:
    """Be alone again."""
    if dist.is_initialized():
        dist.destroy_process_group()
