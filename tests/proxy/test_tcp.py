"""The tcp relay, as playbooks: who says what, and what the other side sees."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig
from proxy.connection import HIGH
from tests.proxy.simulation import Socket, World


def config(*, endpoints: int = 1, max_duration: float | None = None) -> Config:
    return Config(
        name="edge",
        listeners=(
            ListenerConfig(
                name="db",
                address=Address.parse("127.0.0.1:5432"),
                protocol="tcp",
                routes=(RouteConfig(cluster="db"),),
            ),
        ),
        clusters=(
            ClusterConfig(
                name="db",
                endpoints=tuple(
                    EndpointConfig(address=Address.parse(f"127.0.0.1:{9000 + n}")) for n in range(endpoints)
                ),
                connect_timeout=1.0,
                idle_timeout=60.0,
                max_duration=max_duration,
            ),
        ),
    )


@pytest.fixture
def world(moving: bool) -> World:
    return World(config(), moving=moving)


@pytest.fixture
def three(moving: bool) -> World:
    return World(config(endpoints=3), moving=moving)


def relay(world: World) -> tuple[Socket, Socket]:
    client = world.connect("db")
    server = world.dialled()
    server.accept()
    return client, server


def test_bytes_pass_both_ways(world: World) -> None:
    client, server = relay(world)
    client.send(b"ping")
    assert server.take() == b"ping"
    server.send(b"pong")
    assert client.take() == b"pong"


def test_bytes_sent_before_the_upstream_is_connected_arrive(world: World) -> None:
    client = world.connect("db")
    client.send(b"early")
    server = world.dialled()
    assert server.take() == b""
    server.accept()
    assert server.take() == b"early"


def test_server_may_speak_first(world: World) -> None:
    client, server = relay(world)
    server.send(b"220 ready")
    assert client.take() == b"220 ready"


def test_client_half_closes_and_the_answer_still_comes(world: World) -> None:
    client, server = relay(world)
    client.send(b"question")
    client.fin()
    assert server.take() == b"question"
    assert server.ended
    assert not client.ended
    server.send(b"answer")
    assert client.take() == b"answer"
    server.fin()
    assert client.ended
    assert client.closed
    assert server.closed
    assert world.proxy.values() == {}


def test_server_half_closes_and_the_client_goes_on(world: World) -> None:
    client, server = relay(world)
    server.fin()
    assert client.ended
    client.send(b"late")
    assert server.take() == b"late"
    client.fin()
    assert server.closed
    assert client.closed


def test_fin_does_not_overtake_bytes_that_wait(world: World) -> None:
    client, server = relay(world)
    server.accept_bytes(3)
    client.send(b"abcdef")
    client.fin()
    assert server.take() == b"abc"
    assert not server.ended
    server.accept_bytes(None)
    assert server.take() == b"def"
    assert server.ended


@pytest.mark.parametrize("code", [errno.ECONNRESET, errno.ETIMEDOUT])
def test_reset_passes_to_the_other_side(world: World, code: int) -> None:
    client, server = relay(world)
    server.rst(code)
    assert client.reset
    assert client.closed
    assert server.closed
    client, server = relay(world)
    client.rst(code)
    assert server.reset


def test_bytes_before_a_reset_are_not_lost(world: World) -> None:
    client, server = relay(world)
    server.inbox += b"last words"
    server.rst()
    assert client.take() == b"last words"
    assert client.reset


def test_reset_while_dialling_ends_the_dial(world: World) -> None:
    client = world.connect("db")
    server = world.dialled()
    client.rst()
    assert server.closed
    assert world.proxy.values() == {}


def test_reset_is_noticed_while_nobody_reads(world: World) -> None:
    client, server = relay(world)
    server.accept_bytes(0)
    client.send(b"x" * 3 * HIGH)
    assert client.inbox, "the proxy should have stopped reading"
    client.rst()
    assert server.reset


def test_slow_reader_stops_the_sender_and_memory_stays_bounded(world: World) -> None:
    client, server = relay(world)
    server.accept_bytes(0)
    payload = bytes(range(256)) * 4096
    client.send(payload)
    unsent = [len(value.outbox) for value in world.proxy.values().values()]
    assert max(unsent) < 2 * HIGH
    assert len(client.inbox) == len(payload) - sum(unsent)
    got = b""
    while len(got) < len(payload):
        server.accept_bytes(50_000)
        got += server.take()
    assert got == payload


def test_slow_reader_does_not_stop_the_other_direction(world: World) -> None:
    client, server = relay(world)
    server.accept_bytes(0)
    client.send(b"x" * 3 * HIGH)
    server.send(b"alive")
    assert client.take() == b"alive"


def test_next_endpoint_is_tried_when_a_dial_fails(three: World) -> None:
    client = three.connect("db")
    client.send(b"hello")
    first = three.dialled()
    first.refuse()
    second = three.dialled()
    assert second.address != first.address
    second.accept()
    assert second.take() == b"hello"
    assert not client.reset


def test_next_endpoint_is_tried_when_a_dial_takes_too_long(three: World) -> None:
    three.connect("db")
    first = three.dialled()
    three.wait(0.9)
    assert not first.closed
    three.wait(0.2)
    assert first.closed
    second = three.dialled()
    three.wait(0.9)
    assert not second.closed, "each attempt has its own timeout"
    second.accept()


def test_next_endpoint_is_tried_when_a_dial_fails_at_once(three: World) -> None:
    three.refusing = {"127.0.0.1:9000": errno.ENETUNREACH, "127.0.0.1:9001": errno.ECONNREFUSED}
    client = three.connect("db")
    server = three.dialled()
    assert str(server.address) == "127.0.0.1:9002"
    server.accept()
    server.send(b"hello")
    assert client.take() == b"hello"


def test_client_is_reset_when_no_endpoint_can_be_reached(three: World) -> None:
    client = three.connect("db")
    for _ in range(3):
        assert not client.reset
        three.dialled().refuse()
    assert client.reset
    assert three.proxy.values() == {}
    assert not three.dials


def test_silence_ends_the_relay_and_any_byte_prolongs_it(world: World) -> None:
    client, server = relay(world)
    world.wait(59)
    server.send(b".")
    world.wait(59)
    assert not client.closed
    world.wait(2)
    assert client.closed
    assert client.ended
    assert server.closed


def test_max_duration_ends_a_busy_relay(moving: bool) -> None:
    world = World(config(max_duration=100.0), moving=moving)
    client, server = relay(world)
    for _ in range(3):
        world.wait(30)
        server.send(b".")
    assert not client.closed
    world.wait(11)
    assert client.closed
    assert server.closed


def test_endpoints_take_turns(three: World) -> None:
    ports = []
    for _ in range(6):
        three.connect("db")
        address = three.dialled().address
        assert address is not None
        ports.append(address.port)
    assert ports == [9000, 9001, 9002, 9000, 9001, 9002]


def test_drain_lets_relays_finish_until_the_deadline(world: World) -> None:
    client, server = relay(world)
    world.proxy.drain(world.kernel.clock() + 10)
    late = world.connect("db")
    assert not world.dials, "nothing is accepted any more"
    client.send(b"going on")
    assert server.take() == b"going on"
    assert not world.proxy.idle()
    world.wait(11)
    assert client.closed
    assert server.closed
    assert world.proxy.idle()
    assert not late.closed


# ---- the value law: cut anywhere, save, restore, go on: same output ----

actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["client", "server"]), st.binary(min_size=1, max_size=40)),
        st.tuples(st.sampled_from(["client", "server"]), st.integers(1, 3).map(lambda n: b"z" * n * 40_000)),
        st.tuples(st.sampled_from(["client room", "server room"]), st.sampled_from([0, 1, 7, 20_000, 100_000, None])),
        st.tuples(st.sampled_from(["client fin", "server fin", "client rst", "server rst"]), st.none()),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 30.0, 61.0])),
    ),
    max_size=25,
)


def play(script: list[tuple[str, object]], moves: list[bool]) -> list[object]:
    """Everything that both ends see after each action."""
    world = World(config())
    client, server = relay(world)
    ends = {"client": client, "server": server}
    seen: list[object] = []
    for number, (action, argument) in enumerate(script):
        who, _, what = action.partition(" ")
        if who == "wait":
            assert isinstance(argument, float)
            world.wait(argument)
        elif what == "room":
            assert argument is None or isinstance(argument, int)
            ends[who].accept_bytes(argument)
        elif what == "rst":
            ends[who].rst()
        elif what == "fin":
            ends[who].fin()
        elif not ends[who].far_fin:
            assert isinstance(argument, bytes)
            ends[who].send(argument)
        if number < len(moves) and moves[number]:
            world.move()
            world.tick()
        seen.append([(end.take(), end.ended, end.reset, end.closed, len(end.inbox)) for end in (client, server)])
    return seen


@given(actions, st.lists(st.booleans(), max_size=25))
@settings(max_examples=200, deadline=None)
def test_a_handover_anywhere_changes_nothing(script: list[tuple[str, object]], moves: list[bool]) -> None:
    assert play(script, moves) == play(script, [])
