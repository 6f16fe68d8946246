"""Adapters beside the linears of a transformer's blocks: the weights stay as they are, and what an adapter adds is
added to what a linear gives, more or less of it for every token. Knows nothing of files.

What is added is linear in the input, so a strength for each token is one for each row of the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from wan2.models.elementwise import add_gated

if TYPE_CHECKING:
    from wan2.models.adapters import Factors
    from wan2.models.attention import Range


class Run(NamedTuple):
    """Tokens start..stop, and how much of an adapter counts for them."""

    start: int
    stop: int
    strength: float


@dataclass(frozen=True)
class Strengths:
    """How much of one adapter counts in a pass: `whole`, but in runs of tokens of the video or of the text.

    Later runs go before earlier ones. The keys and values of the text are those of tokens of the text; everything else
    beside which an adapter stands has tokens of the video.
    """

    whole: float
    tokens: tuple[Run, ...] = ()
    text: tuple[Run, ...] = ()

    def of_another_text(self) -> Strengths:
        """The same for a pass whose text has no such runs."""
        return replace(self, text=())

    def of_rows(self, rows: Sequence[Range] | None) -> Strengths:
        """The same for some ranges of tokens, one after the other; None is all tokens."""
        if rows is None:
            return self
        found, before = list[Run](), 0
        for start, stop in rows:
            shift = before - start
            inside = (Run(max(run.start, start), min(run.stop, stop), run.strength) for run in self.tokens)
            found += (Run(a + shift, b + shift, strength) for a, b, strength in inside if a < b)
            before += stop - start
        return replace(self, tokens=tuple(found))


Gates = tuple["Tensor | None", ...]
"""For each adapter: how much of it counts, fp32 [] or [tokens, 1]; None where it has no effect."""


@dataclass
class Dial:
    """The gates of the tokens that are at work."""

    gates: Gates = ()


class Branch(nn.Module):
    """What one adapter adds beside one linear.

    Args:
        number: which of the adapters it is.
        scale: what its factors are multiplied by.
        factors: of the linear's weight [out, in], or a vector [out].
        gain: of a DoRA: by what it multiplies rows, [out, 1], or columns, [1, in], of the changed weight.
    """

    gain: Tensor | None

    def __init__(self, number: int, scale: float, factors: Factors, gain: Tensor | None = None) -> None:
        super().__init__()
        self.number, self.scale, self._kind = number, scale, type(factors)
        self._parts = [f"part_{i}" for i, _ in enumerate(factors)]
        for name, tensor in zip(self._parts, factors, strict=True):
            self.register_buffer(name, tensor, persistent=False)
        self.register_buffer("gain", gain, persistent=False)

    @property
    def factors(self) -> Factors:
        """The factors, wherever they lie now."""
        return self._kind(*(getattr(self, name) for name in self._parts))

    def added(self, x: Tensor, plain: Tensor, linear: nn.Module) -> Tensor:
        """What counts beside `linear`, which gives `plain` for x: [..., in] -> [..., out], or [out].

        All but a DoRA is still to be multiplied by the scale.
        """
        if self.gain is None:
            return self.factors.times(x)
        gain, bias = self.gain.flatten(), linear.bias if isinstance(linear.bias, Tensor) else 0
        if len(self.gain) == 1:
            turned = linear((x * (gain - 1)).to(x.dtype)) - bias
            return self.factors.times((x * gain).to(x.dtype)) * self.scale + turned
        return self.factors.times(x) * (gain * self.scale) + (plain - bias) * (gain - 1)


class Branched(nn.Module):
    """A linear, and what adapters add beside it."""

    def __init__(self, linear: nn.Module, branches: Sequence[Branch], dial: Dial) -> None:
        super().__init__()
        self.linear, self._dial = linear, dial
        # Not as submodules: they belong to the transformer, whose linear may be in a slot that others use, too.
        self._branches = tuple(branches)

    def forward(self, x: Tensor) -> Tensor:
        """[..., tokens, in] -> [..., tokens, out]."""
        out = plain = self.linear(x)
        if len(self._branches) > 1:
            plain = plain.clone()  # the sum below is written in place
        for branch in self._branches:
            gate = self._dial.gates[branch.number]
            if gate is not None:
                part = branch.added(x, plain, self.linear)
                out = add_gated(out, part, gate * branch.scale if branch.gain is None else gate)
        return out


class Branches(nn.Module):
    """All branches of a transformer.

    Args:
        beside: name of a linear within a block -> what stands beside it, for every block.
        multipliers: how much of each adapter counts where a pass does not say.
    """

    def __init__(self, beside: Sequence[Mapping[str, Sequence[Branch]]], multipliers: Sequence[float]) -> None:
        super().__init__()
        self.strengths = tuple(Strengths(multiplier) for multiplier in multipliers)
        self._beside, self._dial = beside, Dial()
        self._all = nn.ModuleList(branch for block in beside for each in block.values() for branch in each)

    @contextmanager
    def beside(self, index: int, block: nn.Module) -> Iterator[None]:
        """A block with its branches, for as long as the context."""
        linears = {name: block.get_submodule(name) for name in self._beside[index]}
        for name, linear in linears.items():
            block.set_submodule(name, Branched(linear, self._beside[index][name], self._dial))
        try:
            yield
        finally:
            for name, linear in linears.items():
                block.set_submodule(name, linear)

    def turn(self, strengths: Sequence[Strengths], device: torch.device, rows: Sequence[Range] | None = None) -> Turns:
        """How much counts in one pass; without strengths, the multipliers.

        rows: the ranges of tokens that the pass works on, one after the other; None is the whole clip.
        """
        return Turns(self._dial, tuple(each.of_rows(rows) for each in strengths or self.strengths), device)


@dataclass
class Turns:
    """Turns the dial of a pass to what is at work."""

    dial: Dial
    strengths: tuple[Strengths, ...]
    device: torch.device
    _known: dict[tuple[str, int, int], Gates] = field(default_factory=dict)

    def tokens(self, start: int, stop: int) -> None:
        """Tokens start..stop of the video are next."""
        self._turn("tokens", start, stop)

    def text(self, count: int) -> None:
        """The first `count` tokens of the text are next."""
        self._turn("text", 0, count)

    def _turn(self, kind: str, start: int, stop: int) -> None:
        key = kind, start, stop
        if key not in self._known:
            of = [(each.whole, getattr(each, kind)) for each in self.strengths]
            self._known[key] = tuple(_gate(whole, runs, start, stop, self.device) for whole, runs in of)
        self.dial.gates = self._known[key]


def _gate(whole: float, runs: Sequence[Run], start: int, stop: int, device: torch.device) -> Tensor | None:
    """How much counts for tokens start..stop."""
    gate = torch.full((stop - start, 1), whole)
    for run in runs:
        gate[max(run.start - start, 0) : max(run.stop - start, 0)] = run.strength
    if not gate.any():
        return None
    return (gate[0, 0] if (gate == gate[0]).all() else gate).to(device)
