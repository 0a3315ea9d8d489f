"""Who counts: a destination nothing before it owns, a source that goes on all, and nobody twice."""

from __future__ import annotations

import pytest

from hotswap.swappable import Saved
from proxy.config.loader import loads
from tests.kit import bolt
from tests.kit.certificates import Authority
from tests.proxy.bolt.scene import V1
from tests.proxy.metrics.scene import GET, OK, POST, Counted, ask, cells, edge
from tests.proxy.tls.scene import Scene

AT = "app 127.0.0.1:9000"


def busy(world: Counted, count: int) -> None:
    """So many clients of each protocol, in many states, with what they have under way."""
    for number in range(count):
        client, server = ask(world, POST if number % 5 == 0 else GET)
        if number % 3 == 0:
            server.send(OK)
        elif number % 3 == 1:
            server.send(OK[:-1])
        if number % 4 == 0:
            client.send(GET[:9])
        world.connect("web").send(GET[:9])
        world.connect("raw").send(b"waiting for its dial")
        if number % 2:
            world.dials[-1].accept()
        world.dials.clear()
        world.connect("rpc").send(bolt.call(V1, number, b"") + bolt.call(V1, number + 1, b"", oneway=True))
        for dial in world.dials:
            dial.accept()
        world.dials.clear()


def test_destination_writes_no_cell_before_it_owns() -> None:
    world = Counted(edge(", max_idle: 0"))
    busy(world, 60)
    assert len(world.proxy.values()) > 250
    kernel = world._boot()
    destination = world._proxy(kernel)
    source = world.proxy
    source.freeze()
    world.copy(source, destination, kernel)
    for value in [*source.values().values()][::2]:  # a second round, over the values of the first
        now = source.reactor.kernel.clock()
        destination.restore(Saved(value.kind, value.serial, value.changes, value.save(now)), kernel.clock())
    destination.restore_shared(source.save_shared(source.reactor.kernel.clock()), kernel.clock())
    assert len(destination.values()) > 250
    for serial in [*destination.values()][::7]:
        destination.forget(serial)
    assert not any(cells(destination).values())
    written = [numbers for _, members in destination.metrics.collect() for _, numbers in members if any(numbers)]
    assert written == []


def test_source_that_thaws_goes_on_counting_as_if_nothing_had_been(moving: bool) -> None:
    world = Counted(edge(), moving=moving)
    client, server = ask(world)
    before = world.everything()
    kernel = world._boot()
    destination = world._proxy(kernel)
    world.generations.remove(destination)
    source = world.proxy
    source.sharing(True)
    source.freeze()
    world.copy(source, destination, kernel)
    destination.restore_shared(source.save_shared(world.kernel.clock()), kernel.clock())
    source.sharing(False)
    source.thaw()
    assert world.everything() == before
    server.send(OK)
    assert client.take()
    assert world.told() == {
        "requests web * 2xx": 1,
        "request_duration web *": 1,
        f"upstream_requests {AT} 2xx": 1,
        f"upstream_request_duration {AT}": 1,
    }
    assert not any(cells(destination).values())


def test_source_whose_destination_died_counts_what_it_lost_as_nothing() -> None:
    world = Counted(edge())
    client, _ = ask(world)
    before = world.everything()
    source = world.proxy
    source.sharing(True)
    source.freeze()
    source.retire((), {})
    source.abandon()
    assert client.reset
    assert world.everything() == before
    _, server = ask(world)
    server.send(OK)
    assert world.told() == {
        "requests web * 2xx": 1,
        "request_duration web *": 1,
        f"upstream_requests {AT} 2xx": 1,
        f"upstream_request_duration {AT}": 1,
    }


def test_connections_that_stay_are_counted_where_they_are() -> None:
    world = Counted(edge())
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    source = world.move(
        loads("""\
name: edge
listeners: [{name: other, address: 127.0.0.1:99, protocol: tcp, cluster: app}]
clusters: [{name: app, endpoints: [127.0.0.1:9000]}]
""").config
    )
    client.send(b"123")
    server.send(b"4567")
    assert server.take() + client.take() == b"1234567"
    assert world.only("_bytes") == {
        "downstream_received_bytes raw": 3,
        "downstream_sent_bytes raw": 4,
        f"upstream_received_bytes {AT}": 4,
        f"upstream_sent_bytes {AT}": 3,
    }
    assert cells(source)["downstream_sent_bytes raw"] == 4


@pytest.mark.parametrize("upstream", [False, True])
def test_handshake_that_follows_or_is_dialled_anew_is_one_connection(
    tmp_path_factory: pytest.TempPathFactory, upstream: bool
) -> None:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    scene = Scene(authority, downstream=not upstream, upstream=upstream)
    world = scene.world = Counted(scene.config)
    if upstream:
        scene.socket()
        scene.server()
        world.move()
        scene.world.settle()
        scene.secure_server()
        assert world.only("handshakes", "upstream_connections", "downstream_connections") == {
            "downstream_connections web tcp plain": 1,
            f"upstream_connections {AT} tls": 1,
            "upstream_handshakes app done": 1,
        }
        return
    socket = scene.socket()
    socket.send(b"\x16\x03\x01")
    world.move()
    socket.fin()
    assert world.only("handshakes", "accepted", "downstream_connections") == {
        "downstream_accepted web": 1,
        "downstream_handshakes web ended": 1,
    }


def test_every_call_and_request_is_counted_once_whoever_answers() -> None:
    world = Counted(edge(", max_idle: 0"))
    busy(world, 30)
    before = world.everything()
    asked = sum(value for text, value in before.items() if text.startswith("requests "))
    world.move()
    world.tick()
    assert sum(value for text, value in world.everything().items() if text.startswith("requests ")) == asked
    assert world.only("_connections") == {text: value for text, value in before.items() if "_connections" in text}
