"""The model of the allocator: pieces are used again, joined and grown; pages count while something lies on them."""

from __future__ import annotations

import random

from benchmarks.allocator import LARGE_PAGE, SMALL_PAGE, Range, least
from benchmarks.fake_card.notes import Memory

MB = 1 << 20


def taken(key: int, megabytes: int) -> Memory:
    return Memory("taken", key, megabytes * MB)


def freed(key: int) -> Memory:
    return Memory("freed", key, 0)


def test_what_is_freed_is_used_again() -> None:
    assert least([taken(1, 100), freed(1), taken(2, 100)]) == 5 * LARGE_PAGE
    assert least([taken(1, 40), taken(2, 40), freed(1), freed(2), taken(3, 80)]) == 4 * LARGE_PAGE


def test_a_hole_that_is_too_small_costs_nothing_but_the_rest_of_its_pages() -> None:
    hole = [taken(1, 30), taken(2, 40), taken(3, 30), freed(2)]
    assert least([*hole, taken(4, 60)]) == least([taken(1, 30), taken(3, 30), taken(4, 60)]) + LARGE_PAGE


def test_a_free_piece_at_the_end_grows() -> None:
    memory = Range(LARGE_PAGE)
    for size in (40, 60):
        memory.take(size, size * MB)
        memory.free(size)
    assert memory.end == 60 * MB and memory.backed == 0


def test_small_requests_have_pages_of_their_own() -> None:
    assert least([Memory("taken", 1, 1)]) == SMALL_PAGE
    assert least([Memory("taken", n, 1 << 20) for n in range(3)]) == 2 * SMALL_PAGE
    assert least([], [1, 30 * MB]) == 0 and least([taken(1, 1)], [30 * MB]) == SMALL_PAGE + 2 * LARGE_PAGE


def test_never_less_than_what_is_alive() -> None:
    rng, alive, events, most = random.Random(0), dict[int, int](), list[Memory](), 0
    for number in range(3000):
        if alive and rng.random() < 0.5:
            key = rng.choice(list(alive))
            del alive[key]
            events.append(freed(key))
        else:
            alive[number] = rng.choice((1, 3 * MB, 50 * MB))
            events.append(Memory("taken", number, alive[number]))
        most = max(most, sum(alive.values()))
    assert most <= least(events) <= 1.2 * most
