"""Numbers that are outstanding, held against a plain set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.amqp.runs import MAX_EDGES, Runs

STEPS = st.lists(st.tuples(st.sampled_from(["add", "add", "add", "remove", "remove to"]), st.integers(0, 30)))


def members(runs: Runs) -> list[int]:
    edges = runs.edges
    return [number for first, last in zip(edges[::2], edges[1::2], strict=True) for number in range(first, last + 1)]


@given(steps=STEPS)
def test_it_holds_what_a_set_holds(steps: list[tuple[str, int]]) -> None:
    runs, plain, last = Runs(), set[int](), 0
    for step, number in steps:
        if step == "add":
            last += 1 + (number == 0)
            runs.add(last)
            plain.add(last)
        elif step == "remove":
            runs.remove(number)
            plain.discard(number)
        else:
            runs.remove_to(number)
            plain = {one for one in plain if one > number}
        assert members(runs) == sorted(plain)
        assert len(runs) == len(plain)
        assert bool(runs) == bool(plain)
        assert all(later > earlier + 1 for earlier, later in zip(runs.edges[1::2], runs.edges[2::2], strict=False))


def test_what_came_before_is_ignored() -> None:
    runs = Runs()
    for number in (5, 5, 3, 6):
        runs.add(number)
    assert members(runs) == [5, 6]


def test_it_is_bounded_and_forgets_nothing_that_is_outstanding() -> None:
    runs = Runs()
    for number in range(0, 8 * MAX_EDGES, 2):
        runs.add(number)
    assert len(runs.edges) <= MAX_EDGES
    assert set(range(0, 8 * MAX_EDGES, 2)) <= set(members(runs))
