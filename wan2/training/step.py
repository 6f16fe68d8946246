"""A loss and its gradients with respect to adapters: forward without a graph, then backward block by block.

The inputs of blocks are kept on the way, on the device or in pinned host memory; everything else is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from einops import rearrange
from torch import Tensor

from wan2.models.chunks import chunks
from wan2.models.rope import rope_table
from wan2.training.adapters import Adapters, adapted
from wan2.training.block_gradient import Surroundings, block_gradient, gradient_of

if TYPE_CHECKING:
    from wan2.models.conditioning import Conditioning
    from wan2.models.layers import Block
    from wan2.models.transformer import WanTransformer
    from wan2.training.pieces import Pieces


class Frozen(Protocol):
    """A transformer whose weights stay as they are, and its blocks, in order or in reverse."""

    model: WanTransformer

    def forward(self, then_backward: bool) -> Iterator[tuple[int, Block]]:
        """Every block, first to last. then_backward: whether `backward` follows."""
        ...

    def backward(self) -> Iterator[tuple[int, Block]]:
        """Every block, last to first."""
        ...


@dataclass(frozen=True)
class Sample:
    """One clip at one noise level.

    noisy: latents [1, C, F, h, w]. velocity: what is to be predicted. timestep: 0 to 1000. conditioning: text and
    attentions. pieces: the same attentions as a choice of keys.
    """

    noisy: Tensor
    velocity: Tensor
    timestep: Tensor
    conditioning: Conditioning
    pieces: Pieces


class Inputs:
    """The inputs of blocks, kept until they are needed again. on_host: in pinned memory of the host."""

    def __init__(self, on_host: bool) -> None:
        self._on_host = on_host
        self._kept: list[Tensor] = []
        self._rooms: list[Tensor] = []

    def put(self, x: Tensor) -> None:
        """Keep a copy of x, which will be written to."""
        self._kept.append(self._room(x).copy_(x, non_blocking=True) if self._on_host else x.clone())

    def take(self, device: torch.device) -> Tensor:
        """The last that was kept, on a device."""
        return self._kept.pop().to(device)

    def _room(self, x: Tensor) -> Tensor:
        """Host memory for the next input, used again for every sample that fits into it."""
        number, values = len(self._kept), x.numel()
        if number == len(self._rooms) or self._rooms[number].numel() < values:
            self._rooms[number:] = [torch.empty(values, dtype=x.dtype, pin_memory=x.device.type == "cuda")]
        return self._rooms[number][:values].view(x.shape)


def loss_of(frozen: Frozen, adapters: Adapters, sample: Sample) -> float:
    """The mean squared error of the predicted velocity."""
    step = _Step(frozen.model, adapters, sample)
    return step.error(step.run(frozen.forward(False)), None)


def add_gradients(frozen: Frozen, adapters: Adapters, sample: Sample, inputs: Inputs, weight: float = 1.0) -> float:
    """The loss of a sample; `weight` times its gradients is added to those of the adapters."""
    step = _Step(frozen.model, adapters, sample)
    x = step.run(frozen.forward(True), inputs)
    gradient = torch.empty_like(x)
    loss = step.error(x, gradient)
    del x
    gradient *= weight
    for index, block in frozen.backward():
        with adapted(block, adapters.of_block(index)) as own:
            gradient = block_gradient(own, inputs.take(gradient.device), gradient, step.around)
    return loss


class _Step:
    """One pass: what comes before its blocks, and what comes after them."""

    @torch.no_grad()
    def __init__(self, model: WanTransformer, adapters: Adapters, sample: Sample) -> None:
        self.model, self.adapters, self.sample = model, adapters, sample
        latents, config = sample.noisy, model.config
        grid = tuple(size // patch for size, patch in zip(latents.shape[2:], config.patch_size, strict=True))
        self.time, time_per_block = model.embed_time(sample.timestep)
        text = model.text_embedding(sample.conditioning.context.to(model.dtype))
        rope = rope_table(grid, config.head_dim, latents.device)
        self.around = Surroundings(text, time_per_block, rope, sample.pieces)

    @torch.no_grad()
    def run(self, blocks: Iterator[tuple[int, Block]], inputs: Inputs | None = None) -> Tensor:
        """The stream after the last block; the inputs of blocks are kept, if anything keeps them."""
        around, model = self.around, self.model
        x = model.patchify(self.sample.noisy.to(model.dtype))
        for index, block in blocks:
            if inputs is not None:
                inputs.put(x)
            with adapted(block, self.adapters.of_block(index)) as own:
                text = own.text_keys(around.text)
                x = own(x, around.time, text, around.rope, self.sample.conditioning, model.regions)
        return x

    def error(self, x: Tensor, gradient: Tensor | None) -> float:
        """The mean squared error, a run of tokens at a time; its gradient of x is written into `gradient`."""
        pf, ph, pw = self.model.config.patch_size
        wanted = rearrange(
            self.sample.velocity, "b c (f pf) (h ph) (w pw) -> b (f h w) (pf ph pw c)", pf=pf, ph=ph, pw=pw
        )
        total = torch.zeros((), dtype=torch.float64)
        for a, b in chunks(0, x.shape[1]):
            part = x[:, a:b].detach().requires_grad_(gradient is not None)
            with torch.set_grad_enabled(gradient is not None):
                squares = (self.model.head(part, self.time).float() - wanted[:, a:b].float()).square()
                error = squares.sum() / wanted.numel()
            total += error.detach().cpu()
            if gradient is not None:
                error.backward()
                gradient[:, a:b].copy_(gradient_of(part))
        return float(total)
