"""How several cards share the passes and the tokens of one video. Integers only; knows nothing of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.models.kernel_table import AUTO
from wan2.request.request import Request

CFG, ULYSSES = "cfg", "ulysses"
PASSES = 2
WASTE = 0.15
"""The share of all cards' time that `auto` lets a split by groups leave unused."""

Range = tuple[int, int]
"""Half-open: [first, last + 1)."""


def of_token(config: TransformerConfig) -> int:
    """Operations of the linears of one block for each token."""
    return 12 * config.dim**2 + 4 * config.dim * config.ffn_dim


def of_pair(config: TransformerConfig) -> int:
    """Operations of one block for each pair of query and key."""
    return 4 * config.dim


@dataclass(frozen=True)
class Groups:
    """Groups of tokens, one after the other, each of which attends to itself and to a block of every group.

    name: what a split by groups is called. tokens: how many each has. block: how many of each all others attend to.
    """

    name: str
    tokens: tuple[int, ...]
    block: int

    @property
    def pairs(self) -> tuple[int, ...]:
        """How many pairs of query and key each scores."""
        shared = len(self.tokens) * self.block
        return tuple(own * (own + shared) for own in self.tokens)

    def costs(self, config: TransformerConfig) -> tuple[int, ...]:
        """Operations of one block for each group: the linears of its tokens, and the pairs it scores."""
        of_groups = zip(self.tokens, self.pairs, strict=True)
        return tuple(tokens * of_token(config) + pairs * of_pair(config) for tokens, pairs in of_groups)


@dataclass(frozen=True)
class Split:
    """Who computes what. Cards are numbered pass by pass: card `p * ways + way` takes part in pass p.

    name: what the command line calls it. passes: how many passes run side by side, 1 or 2. rows: for each of the `ways`
    in which a pass is shared, the tokens that are its own. owners: for each way the groups that it has; empty where
    heads are exchanged.
    """

    name: str
    passes: int
    rows: tuple[tuple[Range, ...], ...]
    owners: tuple[tuple[int, ...], ...] = ()

    @property
    def ways(self) -> int:
        """Cards that share one pass."""
        return len(self.rows)


def plan_split(request: Request, config: TransformerConfig, groups: Groups | None = None) -> Split | None:
    """How the cards of a request share its video; None for one card.

    Args:
        request: the run.
        config: sizes of its transformers.
        groups: those of its self-attention, where it has any.

    Raises:
        InputError: they cannot share it as asked.
    """
    cards, how = request.cards.gpus, request.cards.parallel
    if cards == 1:
        return None
    asked = () if how == AUTO else tuple(how.split("+"))
    known = (CFG, ULYSSES) if groups is None else (CFG, groups.name, ULYSSES)
    if asked and (set(asked) - set(known) or len(set(asked)) < len(asked) or len(set(asked) - {CFG}) > 1):
        rest = known[1:]
        rule = f"must be one of {', '.join((AUTO, *known, *(f'{CFG}+{name}' for name in rest)))}"
        raise InputError(rule, field="parallel", value=how)
    passes = _passes(request, asked)
    return _shared(request, config, groups, passes, next((name for name in asked if name != CFG), ""))


def _passes(request: Request, asked: Sequence[str]) -> int:
    """How many passes run side by side."""
    cards, how = request.cards.gpus, request.cards.parallel
    if not asked:
        return PASSES if request.guided and cards % PASSES == 0 else 1
    if CFG not in asked:
        return 1
    if not request.guided:
        raise InputError("with `guidance_scale` 1 there is one pass only", field="parallel", value=how)
    if cards % PASSES or (len(asked) == 1 and cards != PASSES):
        rule = f"gives each of two passes to a card, or with cfg+{ULYSSES} to half of them; `gpus` is {cards}"
        raise InputError(rule, field="parallel", value=how)
    return PASSES


def _shared(request: Request, config: TransformerConfig, groups: Groups | None, passes: int, by: str) -> Split:
    """The split of each pass, by groups or by heads; `by` says which, or leaves it open."""
    ways, tokens, how = request.cards.gpus // passes, request.shape.tokens, request.cards.parallel
    side = [CFG] if passes == PASSES else []
    if ways == 1:
        return Split(CFG, passes, (((0, tokens),),))
    if groups is not None and by in ("", groups.name):
        costs = groups.costs(config)
        owners = balanced(costs, ways)
        if by and not all(owners):
            rule = f"{ways} cards for {len(costs)} {groups.name}; each needs one of its own"
            raise InputError(rule, field="parallel", value=how)
        if by or wasted(costs, owners) <= WASTE:
            return Split("+".join([*side, groups.name]), passes, _rows(groups, owners), owners)
    if config.num_heads < ways:
        raise InputError(f"the transformer has {config.num_heads} heads for {ways} cards", field="parallel", value=how)
    edges = pairwise(tokens * way // ways for way in range(ways + 1))
    return Split("+".join([*side, ULYSSES]), passes, tuple((edge,) for edge in edges))


def balanced(costs: Sequence[int], ways: int) -> tuple[tuple[int, ...], ...]:
    """The groups dealt out to so many cards: largest first to the least busy, then moved and swapped while it helps."""
    owner, loads = [0] * len(costs), [0] * ways
    for group in sorted(range(len(costs)), key=lambda number: -costs[number]):
        owner[group] = loads.index(min(loads))
        loads[owner[group]] += costs[group]
    while (better := _better(costs, owner, ways)) is not None:
        owner = better
    return tuple(tuple(group for group, way in enumerate(owner) if way == one) for one in range(ways))


def _better(costs: Sequence[int], owner: list[int], ways: int) -> list[int] | None:
    """The first owners within a move or a swap that have the busiest cards less busy."""
    before = _busiest_first(costs, owner, ways)
    return next((near for near in _near(owner, ways) if _busiest_first(costs, near, ways) < before), None)


def _near(owner: list[int], ways: int) -> Iterator[list[int]]:
    """Owners that differ by one group that moves, or by two that change places."""
    for group, way in enumerate(owner):
        yield from ([*owner[:group], new, *owner[group + 1 :]] for new in range(ways) if new != way)
        for other in range(group):
            if owner[other] != way:
                swapped = list(owner)
                swapped[group], swapped[other] = owner[other], way
                yield swapped


def _busiest_first(costs: Sequence[int], owner: Sequence[int], ways: int) -> list[int]:
    loads = [0] * ways
    for cost, way in zip(costs, owner, strict=True):
        loads[way] += cost
    return sorted(loads, reverse=True)


def wasted(costs: Sequence[int], owners: Sequence[Sequence[int]]) -> float:
    """The share of all cards' time in which they wait for the busiest."""
    most = max(sum(costs[group] for group in own) for own in owners)
    return 1 - sum(costs) / (len(owners) * most)


def _rows(groups: Groups, owners: Sequence[Sequence[int]]) -> tuple[tuple[Range, ...], ...]:
    ranges = list(pairwise((0, *accumulate(groups.tokens))))
    return tuple(tuple(ranges[group] for group in own) for own in owners)
