"""What a handover does with TLS: handshakes under way, sessions, and who may seal when."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from hotswap.swappable import Saved
from proxy.config.loader import loads
from proxy.tls.errors import NotOwner
from proxy.tls.session import Session
from tests.kit import bolt
from tests.proxy.bolt.scene import V1
from tests.proxy.simulation import World
from tests.proxy.tls.far import Far, server_context
from tests.proxy.tls.scene import Scene

if TYPE_CHECKING:
    from proxy.connection import Connection
    from tests.kit.certificates import Authority

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def play(authority: Authority, version: str) -> Scene:
    return Scene(authority, version)


@pytest.fixture
def outwards(authority: Authority, version: str) -> Scene:
    return Scene(
        authority, version, downstream=False, upstream=True, protocol="http1", cluster={"connect_timeout": 9.0}
    )


def session(world: World) -> Session:
    return next(one.tls for one in world.proxy.values().values() if isinstance(one.tls, Session))


def connection(world: World, kind: str) -> Connection:
    return next(one for one in world.proxy.values().values() if one.kind == kind)


# -- handshakes of clients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("flights", [0, 1, 2])
def test_a_handshake_under_way_follows_when_it_is_done(play: Scene, flights: int) -> None:
    client = Far(play.socket(), play.context(), name="edge.test")
    for _ in range(flights):
        client.step()
    source = play.world.move()
    play.world.move()
    client.handshake().send(b"question")
    server = play.server()
    assert server.take() == b"question"
    server.send(b"answer")
    assert client.take() == b"answer"
    assert source.idle()
    assert [one.kind for one in play.world.proxy.values().values()] == ["tcp.downstream", "tcp.upstream"]


def test_data_behind_the_last_flight_comes_along(play: Scene) -> None:
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    play.world.move()
    client._in.write(client.socket.take())
    if play.version == "1.2":
        client.step()
        client.pull()
    client.tls.do_handshake()
    client.send(b"question")
    assert play.server().take() == b"question"


def test_data_that_comes_between_its_arrival_and_the_next_tick_is_not_lost(
    play: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    play.world.move()
    send = play.world._send_stragglers

    def arrive_and_ask() -> None:
        awaited = bool(play.world.stragglers)
        send()
        if awaited and not play.world.stragglers:
            reactor = play.world.proxy.reactor
            assert reactor.next_alarm() <= reactor.now, "nothing but this makes it tick"
            client.step()
            client.send(b"question")

    monkeypatch.setattr(play.world, "_send_stragglers", arrive_and_ask)
    client.step()
    assert play.server().take() == b"question"


def test_one_that_arrives_right_before_the_next_handover_is_touched_by_its_new_owner_only(
    play: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    play.world.move()
    send = play.world._send_stragglers

    def arrive_and_go_on() -> None:
        awaited = bool(play.world.stragglers)
        send()
        if awaited and not play.world.stragglers:
            play.world.move()

    monkeypatch.setattr(play.world, "_send_stragglers", arrive_and_go_on)
    client.handshake()
    play.world.settle()
    assert play.world.moves == 2
    assert [proxy.reactor.bugs for proxy in play.world.retired] == []
    client.send(b"question")
    server = play.server()
    assert server.take() == b"question"
    server.send(b"answer")
    assert client.take() == b"answer"


def test_a_handshake_that_fails_after_the_handover_is_nobodys_any_more(play: Scene) -> None:
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    source = play.world.move()
    assert play.world.proxy.stragglers()
    client.socket.rst()
    assert source.idle()
    assert not play.world.proxy.stragglers()
    assert len(play.world.proxy.values()) == 0


def test_a_destination_that_dies_leaves_the_handshake_to_the_source(play: Scene) -> None:
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    source = play.world.move()
    lost, play.world.proxy, play.world.kernel = play.world.proxy, source, source.reactor.kernel  # type: ignore[assignment]
    play.world.stragglers.clear()
    play.world.retired.clear()
    client.handshake()
    source.abandon()
    play.world.settle()
    client.send(b"question")
    assert play.server().take() == b"question"
    assert len(lost.values()) == 0


# -- handshakes with endpoints --------------------------------------------------------------------------------


def test_a_handshake_with_an_endpoint_is_begun_anew(outwards: Scene) -> None:
    client = outwards.socket()
    client.send(GET)
    first = outwards.server()
    server = Far(first, server_context(outwards.pair, outwards.version), server=True)
    if outwards.version == "1.2":  # with 1.3 our side is done after one flight of the server
        server.step()
    outwards.world.move()
    outwards.world.settle()
    second = outwards.secure_server()
    assert first.closed
    assert second.take().startswith(b"GET / HTTP/1.1\r\n")
    second.send(OK)
    assert client.take().endswith(b"ok")


@pytest.mark.parametrize(
    ("protocol", "question", "answer"),
    [
        ("tcp", b"question", b"answer"),
        ("http1", GET, OK),
        ("bolt", bolt.call(V1, 1, b"question"), bolt.answer(V1, 1, b"answer")),
    ],
    ids=["tcp", "http1", "bolt"],
)
def test_one_that_is_begun_anew_between_two_rounds_moves_with_its_new_descriptor(
    authority: Authority, version: str, protocol: str, question: bytes, answer: bytes
) -> None:
    play = Scene(
        authority, version, downstream=False, upstream=True, protocol=protocol, cluster={"connect_timeout": 9.0}
    )
    world = play.world
    client = play.socket()
    client.send(question)
    first = play.server()
    world.move()
    servers: list[Far] = []

    def begin_anew() -> None:
        world.settle()
        servers.append(play.secure_server())

    world.move(meanwhile=begin_anew)
    world.settle()
    assert servers[0].take()[:3] == question[:3]
    servers[0].send(answer)
    assert client.take()[-2:] == answer[-2:]
    assert first.closed
    assert world.dials == []
    assert len(world.proxy.values()) == 2
    assert world.proxy.clusters["app"].connections == 1


def test_its_deadline_goes_on(outwards: Scene) -> None:
    client = outwards.socket()
    client.send(GET)
    outwards.server()
    outwards.world.wait(8.0)
    outwards.world.move()
    outwards.world.wait(0.9)
    assert client.take() == b""
    outwards.world.wait(0.2)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_an_attempt_that_is_taken_back_disturbs_no_handshake(outwards: Scene) -> None:
    client = outwards.socket()
    client.send(GET)
    server = Far(outwards.server(), server_context(outwards.pair, outwards.version), server=True)
    server.step()
    source = outwards.world.proxy
    source.agree(dict.fromkeys(source.schemas(), 1), {"127.0.0.1:443"})
    for fd in source.descriptors().values():
        os.close(fd)
    source.freeze()
    for value in source.values().values():
        value.save(outwards.world.kernel.clock())
    source.thaw()
    server.handshake()
    assert server.take().startswith(b"GET / HTTP/1.1\r\n")


def test_a_dial_made_anew_is_known_for_the_proxys_own(authority: Authority) -> None:
    """A rule that sends it back here would have it sent on for ever."""
    text = f"""\
name: edge
listeners: [{{name: in, address: 0.0.0.0:80, protocol: tcp, cluster: there, original_dst: redirect}}]
clusters: [{{name: there, endpoints: original_dst, tls: {{ca: {authority.file}, sni: edge.test}}}}]
"""
    world = World(loads(text).config)
    world.connect("in", destination="203.0.113.5:443", near="198.51.100.1:80")
    world.dialled().accept()
    world.move()
    world.settle()
    again = world.dialled()
    sent_back = world.connect("in", destination="203.0.113.5:443", near="198.51.100.1:80", far=again.near)
    assert sent_back.reset
    assert world.dials == []


# -- who may seal ---------------------------------------------------------------------------------------------


def test_nothing_is_sealed_between_the_freeze_and_the_thaw(play: Scene) -> None:
    client = play.client()
    server = play.server()
    client.take()
    world = play.world
    world.proxy.freeze()
    for attempt in (lambda: session(world).layer.seal(23, b"x"), lambda: session(world).close()):
        with pytest.raises(NotOwner):
            attempt()
    world.proxy.thaw()
    server.send(b"answer")
    assert client.take() == b"answer"


def test_a_destination_seals_nothing_before_it_owns_and_the_source_nothing_after(play: Scene) -> None:
    client = play.client()
    server = play.server()
    before = session(play.world)
    server.send(b"one")
    assert client.take() == b"one"
    play.world.move()
    with pytest.raises(NotOwner):
        before.layer.seal(23, b"late")
    with pytest.raises(NotOwner):
        before.close()
    server.send(b"two")
    assert client.take() == b"two"


def test_what_stays_behind_is_served_by_the_source_under_its_own_keys(play: Scene) -> None:
    """The destination knows no TLS: encrypted connections stay, and drain."""
    client = play.client()
    server = play.server()
    source = play.world.proxy
    known = {kind: 1 for kind in source.schemas() if kind != "tls"}
    source.agree(known, {"127.0.0.1:443"})
    assert set(source.staying().values()) == {"the new version does not know TLS"}
    assert len(source.staying()) == 2
    assert source.descriptors() == {}
    source.freeze()
    source.retire(source.staying().keys(), {})
    play.world.settle()
    client.send(b"question")
    assert server.take() == b"question"
    server.send(b"answer")
    assert client.take() == b"answer"


def test_a_state_under_another_key_is_refused(play: Scene) -> None:
    play.client()
    world = play.world
    value = connection(world, "tcp.downstream")
    world.proxy.agree(dict.fromkeys(world.proxy.schemas(), 1), {"127.0.0.1:443"})
    state = value.save(world.kernel.clock())
    kernel = world._boot()
    other = world._proxy(kernel)
    with pytest.raises(Exception, match="its TLS cannot be restored"):
        other.restore(Saved(value.kind, value.serial, 1, state, kernel.install(world.kernel.socket(value.fd))), 0.0)


def test_rounds_bring_a_session_up_to_date(play: Scene) -> None:
    """What was copied while the source served on is followed by later rounds, the last of them frozen."""
    client = play.client()
    server = play.server()
    world = play.world
    source = world.proxy
    wanted = {"127.0.0.1:443"}
    kernel = world._boot()
    destination = world._proxy(kernel)
    source.agree(dict.fromkeys(source.schemas(), 1), wanted)
    destination.accept_descriptors(source.descriptors())
    world.copy(source, destination, kernel)
    for number in range(3):
        server.send(b"answer %d" % number)
        assert client.take() == b"answer %d" % number
        client.send(b"question")
        world.copy(source, destination, kernel)
    source.freeze()
    world.copy(source, destination, kernel)
    destination.restore_shared(source.save_shared(world.kernel.clock()), kernel.clock())
    destination.start()
    source.retire([], {})
    world.kernel, world.proxy = kernel, destination
    server.send(b"the last")
    assert client.take() == b"the last"
    assert server.take() == b"question" * 3


# -- another configuration ------------------------------------------------------------------------------------


def test_pooled_connections_that_do_not_fit_serve_until_they_are_replaced(outwards: Scene) -> None:
    client = outwards.socket()
    client.send(GET)
    secure = outwards.secure_server()
    secure.send(OK)
    assert client.take().endswith(b"ok")
    plain = msgspec.structs.replace(outwards.config.clusters[0], tls=None)
    config = msgspec.structs.replace(outwards.config, clusters=(plain, outwards.config.clusters[1]))
    outwards.world.move(config)
    outwards.world.wait(0.3)
    successor = outwards.server()
    client.send(GET)
    secure.pull()
    secure.send(OK)
    assert client.take().endswith(b"ok")
    outwards.world.wait(0.5)
    assert secure.socket.ended
    client.send(GET)
    assert successor.take().startswith(b"GET / HTTP/1.1\r\n")
    successor.send(OK)
    assert client.take().endswith(b"ok")


def test_a_dial_under_way_becomes_what_the_cluster_wants_then(outwards: Scene) -> None:
    client = outwards.socket()
    client.send(GET)
    plain = msgspec.structs.replace(outwards.config.clusters[0], tls=None)
    config = msgspec.structs.replace(outwards.config, clusters=(plain, outwards.config.clusters[1]))
    outwards.server()  # the handshake began
    outwards.world.move(config)
    outwards.world.settle()
    server = outwards.server()
    assert server.take().startswith(b"GET / HTTP/1.1\r\n")
    server.send(OK)
    assert client.take().endswith(b"ok")
