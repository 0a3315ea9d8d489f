"""The time that callers say they wait, where attachments are looked at: it makes the time of a call longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.model import RouteConfig
from proxy.dubbo.patience import KEYS, MOST, patience
from tests.kit import dubbo
from tests.kit import hessian as kit
from tests.proxy.dubbo.scene import BY_GROUP, BY_INTERFACE, Captured, captured, rpc, statuses, taken
from tests.proxy.simulation import World

LOOKED_AT = {
    "a route asks for the group": BY_GROUP,
    "a route has a time of its own": (RouteConfig(cluster="app", request_timeout=1.0),),
}
NOT_LOOKED_AT = {
    "a route asks for the interface": (*BY_INTERFACE, RouteConfig(cluster="app")),
    "there is one route": (RouteConfig(cluster="app"),),
    "the first of the routes takes all": (RouteConfig(cluster="app"), *BY_GROUP),
}


def asking(routes: tuple[RouteConfig, ...], *, moving: bool) -> World:
    return World(rpc(routes=routes, request_timeout=1.0), moving=moving)


@pytest.mark.parametrize("routes", LOOKED_AT.values(), ids=LOOKED_AT)
def test_a_call_has_the_time_that_it_brings(routes: tuple[RouteConfig, ...], moving: bool) -> None:
    world = asking(routes, moving=moving)
    client = world.connect("rpc")
    client.send(
        dubbo.call(1, b"", attached={"timeout": "3000"})
        + dubbo.call(2, b"")
        + dubbo.call(3, b"", attached={"timeout": "2000", "x": "y"})
    )
    server = world.dialled()
    server.accept()
    first, *_ = taken(server)
    world.wait(0.9)
    assert client.take() == b""
    world.wait(0.2)
    assert statuses(client) == {2: 31}
    world.wait(0.8)
    assert client.take() == b""
    world.wait(0.2)
    assert statuses(client) == {3: 31}
    world.wait(0.8)
    server.send(dubbo.answer(first.id, b"in time"))
    assert statuses(client) == {1: 20}


@pytest.mark.parametrize("routes", LOOKED_AT.values(), ids=LOOKED_AT)
def test_a_call_never_has_less_than_the_configuration_says(routes: tuple[RouteConfig, ...], moving: bool) -> None:
    """Clients up to 2.7.5 attach the time of the interface to calls of methods that have a longer one."""
    world = asking(routes, moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"", attached={"timeout": "300"}))
    world.dialled().accept()
    world.wait(0.9)
    assert client.take() == b""
    world.wait(0.2)
    assert statuses(client) == {1: 31}


@pytest.mark.parametrize("routes", NOT_LOOKED_AT.values(), ids=NOT_LOOKED_AT)
def test_calls_whose_attachments_nobody_reads_have_that_of_the_configuration(
    routes: tuple[RouteConfig, ...], moving: bool
) -> None:
    world = asking(routes, moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"", attached={"timeout": "3000"}))
    world.dialled().accept()
    world.wait(1.1)
    assert statuses(client) == {1: 31}


def waits(attached: bytes, content: bytes = b"") -> float:
    """Of a call with that map."""
    body = dubbo.introduction("a.B", "c", "", "[B") + dubbo.binary(content) + b"H" + attached + b"Z"
    return patience(b"before" + body + b"\x07timeout\x0216", 6, 6 + len(body))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("number", [1, 47, 3000, 60_000, 300_000, MOST])
def test_texts_and_numbers(key: bytes, number: int) -> None:
    assert waits(key + dubbo.text(str(number))) == number / 1000
    assert waits(b"\1a\1b" + key + kit.integer(number) + b"\1c\1d") == number / 1000


@pytest.mark.parametrize(
    "value",
    [
        *(dubbo.text(text) for text in ("", "0", "-5", "+5", " 5", "5s", "1e3", "5.0", str(MOST + 1), "9" * 11)),
        *(kit.integer(number) for number in (0, -1, -3000, -(1 << 31))),
        *(kit.long(3000), b"N", b"T", b"\x03\xd9\xa5\xd9", b"\x0a12", b"I\0", b""),
    ],
)
def test_what_is_no_time_does_not_count(value: bytes) -> None:
    assert waits(b"\x07timeout" + value) == 0.0


def test_the_longer_of_both_counts_and_attachments_before_arguments() -> None:
    assert waits(b"\x07timeout\x043000\x03_TO" + kit.integer(500)) == 3.0
    assert waits(b"\x03_TO" + kit.integer(5000) + b"\x07timeout\x043000") == 5.0
    assert waits(b"\x07timeout\x043000", b"\x07timeout\x049000") == 3.0


@pytest.mark.parametrize("one", [one for one in captured() if one.req and not one.event], ids=lambda one: one.source)
def test_calls_of_peers_that_do_not_say(one: Captured) -> None:
    frame = one.frame
    assert patience(frame, 16, len(frame)) == 0.0


@settings(max_examples=60, deadline=None)
@given(before=st.binary(max_size=30), key=st.sampled_from(KEYS), after=st.binary(max_size=12))
def test_any_bytes(before: bytes, key: bytes, after: bytes) -> None:
    body = before + key + after
    for end in range(len(body) + 1):
        assert 0.0 <= patience(bytearray(body), 0, end) <= MOST / 1000
