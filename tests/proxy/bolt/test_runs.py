"""Loops over runs of frames in C, held against their twins in Python: with any bytes, all that they leave behind."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.bolt import runs
from proxy.multiplexed.state import About
from proxy.multiplexed.wire import EVERY, LAST_ID, SAME, SINGLE
from tests.kit import bolt
from tests.kit.bolt import DIALECTS
from tests.proxy.bolt.scene import BY_SERVICE, captured, rpc, statuses, taken
from tests.proxy.damage import damaged
from tests.proxy.simulation import World
from tests.proxy.twins import left, twin, with_calls

TWIN = twin("proxy.bolt.runs", proxy__multiplexed__pending=twin("proxy.multiplexed.pending"))
ASKERS = [object(), object()]
FRAMES = [one.frame for one in captured()] + [
    bolt.encode(dialect, kind, command, number, timeout, header=bolt.headers(service=name), content=b"x")
    for dialect in DIALECTS
    for kind, command, timeout in ((1, 1, 5000), (1, 1, -1), (0, 2, 0), (0, 2, 8), (2, 1, 0), (1, 0, 0))
    for number, name in ((1, "a"), (2, "b"), (0xFFFFFFFF, "a"))
]
STREAMS = st.one_of(
    damaged(FRAMES, most=8), st.lists(st.sampled_from(FRAMES), min_size=1).map(b"".join), st.binary(min_size=1)
)


def both(last: int, known: dict[int, Any]) -> tuple[Any, Any]:
    return with_calls(runs.BoltCalls(), last, known), with_calls(TWIN.BoltCalls(), last, known)


@given(STREAMS, st.sampled_from([SINGLE, SAME, EVERY]), st.sampled_from([0, 7, LAST_ID - 1]))
def test_calls_pass_the_same(stream: bytes, alike: int, last: int) -> None:
    known = {1: (ASKERS[1], 5, 9.0, 1, 0, None, 2.0, "*"), LAST_ID: (None, 5, 9.0, 1, 0, None, 2.0, "")}
    one, other = both(last, known)
    buffer, copy = bytearray(stream), bytearray(stream)
    at = 0
    sights = runs.Sight(), TWIN.Sight()
    while at < len(stream):
        plain = [sight.call(buffer, at) for sight in sights]
        assert plain[0] == plain[1]
        if not plain[0]:
            at += 1
            continue
        here, there = (
            (sight.end, sight.header, sight.header_end, sight.number, sight.codec, sight.ver1) for sight in sights
        )
        assert here == there
        end = one.pass_on(buffer, at, alike, ASKERS[0], "orders", 100.0, 3.0)
        assert other.pass_on(copy, at, alike, ASKERS[0], "orders", 100.0, 3.0) == end
        assert (buffer, left(one)) == (copy, left(other))
        assert end > at
        at = end


@given(STREAMS, st.sampled_from([1, 2]), st.lists(st.sampled_from(["", "*", "look", "nobody", "other"]), max_size=4))
def test_answers_come_back_the_same(stream: bytes, version: int, kinds: list[str]) -> None:
    known = {
        number: (
            {"nobody": None, "other": ASKERS[1]}.get(kind, ASKERS[0]),
            0xFFFFFFF0 + number % 16,
            9.0,
            1,
            0,
            About() if kind == "look" else None,
            float(number % 2),
            kind,
        )
        for number, kind in zip((1, 2, 0xFFFFFFFF, 3), kinds, strict=False)
    }
    one, other = both(5, known)
    buffer, copy = bytearray(stream), bytearray(stream)
    seen: tuple[list[Any], list[Any]] = ([], [])
    sights = runs.Sight(), TWIN.Sight()
    at = 0
    while at < len(stream):
        end = one.give_back(buffer, at, version, 100.0, lambda *told: seen[0].append(told))
        assert other.give_back(copy, at, version, 100.0, lambda *told: seen[1].append(told)) == end
        assert (buffer, left(one)) == (copy, left(other))
        assert (one.asker, one.route, one.wrong) == (other.asker, other.route, other.wrong)
        assert seen[0] == seen[1]
        assert (end > at) == (one.asker is not None)
        plain = [sight.answer(buffer, at, version) for sight in sights]
        assert plain[0] == plain[1]
        if plain[0]:
            assert len({(sight.end, sight.number, sight.status) for sight in sights}) == 1
        at = max(end, at + 1)


NAMES = ("com.acme.Orders:1.0", "com.other.a", "com.other.b", "nowhere")


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(DIALECTS)), min_size=1, max_size=8))
def test_calls_of_one_read_go_each_its_own_way(asked: list[tuple[str, bolt.Dialect]]) -> None:
    world = World(rpc(routes=BY_SERVICE))
    client = world.connect("rpc")
    calls = [bolt.call(dialect, number, b"", service=name) for number, (name, dialect) in enumerate(asked)]
    client.send(b"".join(calls))
    found: dict[tuple[str, int], list[str]] = {}
    while world.dials:
        server = world.dialled()
        server.accept()
        for frame in taken(server):
            (name,) = [one for one in NAMES if one.encode() in frame.header]
            found.setdefault((name.partition(".")[2][:4], frame.dialect.version), []).append(name)
            server.send(bolt.answer(frame.dialect, frame.id, b""))
    wanted: dict[tuple[str, int], list[str]] = {}
    for name, dialect in asked:
        if name != "nowhere":
            wanted.setdefault((name.partition(".")[2][:4], dialect.version), []).append(name)
    assert found == wanted
    assert statuses(client) == {number: 6 if name == "nowhere" else 0 for number, (name, _) in enumerate(asked)}
