"""The table of calls under way in C, held against its twin in Python."""

from __future__ import annotations

import weakref
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.multiplexed import pending, pieces
from proxy.multiplexed.state import About
from tests.proxy.twins import twin

TWIN = twin("proxy.multiplexed.pending")
ASKERS = [None, *(object() for _ in range(3))]
ABOUT = About()
MEETING = [number for number in range(1000) if (number * 0x9E3779B97F4A7C15 % (1 << 64)) >> 59 == 30][:10]
"""They want the same place in a table of 32, next to its end."""
IDS = st.one_of(
    st.integers(1, 12),
    st.sampled_from(MEETING),
    st.sampled_from([0, -1, 0x7FFFFFFF, 1 << 40, (1 << 63) - 1, -(1 << 63)]),
)
CALLS: st.SearchStrategy[Any] = st.tuples(
    st.sampled_from(ASKERS),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([1.5, 0.25, inf]),
    st.integers(0, 0xFFFF),
    st.integers(0, 2),
    st.sampled_from([None, None, ABOUT]),
    st.floats(0, 1e9),
    st.sampled_from(["", "*", "orders"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), IDS, CALLS),
        st.tuples(st.just("put"), IDS, CALLS),
        st.tuples(st.just("pop"), IDS),
        st.tuples(st.just("has"), IDS),
        st.tuples(st.just("forget"), st.sampled_from(ASKERS[1:])),
        st.tuples(st.just("of"), st.sampled_from(ASKERS[1:])),
    ),
    max_size=80,
)


@given(STEPS)
def test_both_hold_the_same_in_the_same_order(steps: list[tuple[Any, ...]]) -> None:
    one: Any = pending.Pending()
    other = TWIN.Pending()
    for name, *arguments in steps:
        assert getattr(one, name)(*arguments) == getattr(other, name)(*arguments)
        assert len(one) == len(other)
    assert one.items() == other.items()
    assert one.values() == other.values()
    assert one.earliest() == other.earliest()


def test_thousands_come_and_go_in_any_order() -> None:
    one: Any = pending.Pending()
    call = (ASKERS[1], 7, 1.0, 0, 0, None, 0.0, "")
    for number in range(1, 5001):
        one.put(number, call)
    for number in [*range(2, 5001, 2), *range(4999, 2000, -2)]:
        assert one.pop(number) == call
    assert [number for number, _ in one.items()] == list(range(1, 2000, 2))
    assert one.forget(ASKERS[1]) == len(range(1, 2000, 2))
    assert len(one) == 0
    assert one.earliest() == inf


def test_whoever_is_forgotten_is_not_kept_alive() -> None:
    class Asker:
        """One that can be looked after."""

    one: Any = pending.Pending()
    asker = Asker()
    gone = weakref.ref(asker)
    one.put(1, (asker, 7, 1.0, 0, 0, None, 0.0, ""))
    one.forget(asker)
    del asker
    assert gone() is None


@given(st.binary(max_size=20), st.binary(min_size=1, max_size=20), st.data())
def test_outboxes_take_the_same_pieces(out: bytes, data: bytes, choose: st.DataObject) -> None:
    end = choose.draw(st.integers(1, len(data)))
    begun = choose.draw(st.integers(0, end - 1))
    for outbox in (out, bytearray(out)):
        for module in (pieces, twin("proxy.multiplexed.pieces")):
            made = module.Pieces()
            assert bytes(made.joined(outbox[:], bytearray(data), begun, end)) == out + data[begun:end]
            assert made.rest(bytearray(data), begun) == data[begun:]
