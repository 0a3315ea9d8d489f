"""Loops over runs of frames in C, held against their twins in Python: with any bytes, all that they leave behind."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.dubbo import runs
from proxy.dubbo.frame import SIZE
from proxy.multiplexed.state import About
from proxy.multiplexed.wire import LAST_ID
from tests.kit import dubbo
from tests.proxy.damage import damaged
from tests.proxy.dubbo.scene import BY_INTERFACE, rpc, statuses
from tests.proxy.simulation import World
from tests.proxy.twins import left, twin, with_calls

TWIN = twin("proxy.dubbo.runs", proxy__multiplexed__pending=twin("proxy.multiplexed.pending"))
ASKERS = [object(), object()]
FRAMES = [
    *(dubbo.call(number, body) for number in (1, -1, 1 << 40) for body in (b"", b"abc", b"x" * 40)),
    *(dubbo.answer(number, b"x", status) for number in (1, 2, -3) for status in (20, 70)),
    *(dubbo.encode(flags, 0, 1, b"N") for flags in (0xE2, 0xA2, 0x22, 0x82, 0xC6, 0x02)),
]
STREAMS = st.one_of(
    damaged(FRAMES, most=8), st.lists(st.sampled_from(FRAMES), min_size=1).map(b"".join), st.binary(min_size=1)
)


def both(last: int, known: dict[int, Any]) -> tuple[Any, Any]:
    return with_calls(runs.DubboCalls(), last, known), with_calls(TWIN.DubboCalls(), last, known)


@given(STREAMS, st.sampled_from([-1, 0, 1, 12]), st.sampled_from([0, LAST_ID - 1]), st.sampled_from([80, 1 << 20]))
def test_calls_pass_the_same(stream: bytes, same: int, last: int, limit: int) -> None:
    known = {1: (ASKERS[1], 5, 9.0, 0, 0, None, 2.0, "*"), LAST_ID: (None, 5, 9.0, 0, 0, None, 2.0, "")}
    one, other = both(last, known)
    buffer, copy = bytearray(stream), bytearray(stream)
    sights = runs.Sight(), TWIN.Sight()
    at = 0
    while len(stream) - at >= SIZE:
        plain = [sight.call(buffer, at, limit) for sight in sights]
        assert plain[0] == plain[1]
        if not plain[0]:
            at += 1
            continue
        assert len({(sight.end, sight.number) for sight in sights}) == 1
        reach = min(same, sights[0].end - at - SIZE)
        end = one.pass_on(buffer, at, reach, limit, ASKERS[0], "orders", 100.0, 103.0)
        assert other.pass_on(copy, at, reach, limit, ASKERS[0], "orders", 100.0, 103.0) == end
        assert (buffer, left(one)) == (copy, left(other))
        assert end > at
        at = end


@given(
    STREAMS, st.lists(st.sampled_from(["", "*", "look", "nobody", "other"]), max_size=3), st.sampled_from([3, 1 << 20])
)
def test_answers_come_back_the_same(stream: bytes, kinds: list[str], limit: int) -> None:
    known = {
        number: (
            {"nobody": None, "other": ASKERS[1]}.get(kind, ASKERS[0]),
            -(1 << 60) + number,
            9.0,
            0,
            0,
            About() if kind == "look" else None,
            float(number),
            kind,
        )
        for number, kind in zip((1, 2, -3), kinds, strict=False)
    }
    one, other = both(5, known)
    buffer, copy = bytearray(stream), bytearray(stream)
    seen: tuple[list[Any], list[Any]] = ([], [])
    sights = runs.Sight(), TWIN.Sight()
    at = 0
    while len(stream) - at >= SIZE:
        end = one.give_back(buffer, at, limit, 100.0, lambda *told: seen[0].append(told))
        assert other.give_back(copy, at, limit, 100.0, lambda *told: seen[1].append(told)) == end
        assert (buffer, left(one)) == (copy, left(other))
        assert (one.asker, one.route, one.wrong) == (other.asker, other.route, other.wrong)
        assert seen[0] == seen[1]
        plain = [sight.answer(buffer, at, limit) for sight in sights]
        assert plain[0] == plain[1]
        if plain[0]:
            assert len({(sight.end, sight.number, sight.status) for sight in sights}) == 1
        at = max(end, at + 1)


ASKED = st.lists(
    st.tuples(
        st.sampled_from(["com.acme.Orders", "com.other.A", "nowhere"]), st.sampled_from(["get", "getAll", "set"])
    ),
    min_size=1,
    max_size=8,
)


@given(ASKED)
def test_calls_of_one_read_go_each_its_own_way(asked: list[tuple[str, str]]) -> None:
    world = World(rpc(routes=BY_INTERFACE))
    client = world.connect("rpc")
    calls = [dubbo.call(number, b"", interface=name, method=how) for number, (name, how) in enumerate(asked)]
    client.send(b"".join(calls))
    found = []
    while world.dials:
        server = world.dialled()
        server.accept()
        whole = server.take()
        found.append([name for name, _ in asked if name.encode() in whole])
        for frame in dubbo.FrameReader().feed(whole):
            server.send(dubbo.answer(frame.id, b""))
    served = [name == "com.acme.Orders" or (name, how[:3]) == ("com.other.A", "get") for name, how in asked]
    assert statuses(client) == {number: 20 if one else 60 for number, one in enumerate(served)}
    assert all(len(set(names)) == 1 for names in found)
