"""The proxy as a swappable server: what moves, what stays, what is lost, and that nothing is mixed up."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hotswap.address import Address
from hotswap.errors import CannotRestore
from proxy import compiled
from proxy.config.model import ClusterConfig, Config, EndpointConfig
from tests.proxy.relays import TWO, both_ways, cluster, listener, relay, save
from tests.proxy.simulation import Socket, World


def test_connections_of_a_removed_listener_stay_with_both_sides_and_finish() -> None:
    world = World(TWO)
    client, server = relay(world, "cache")
    moved = relay(world, "db")
    source = world.move(msgspec.structs.replace(TWO, listeners=TWO.listeners[:1]))
    assert len(source.values()) == 2
    assert len(world.proxy.values()) == 2
    assert both_ways(client, server)
    assert both_ways(*moved)
    assert not source.idle()
    client.fin()
    server.fin()
    assert client.closed
    assert server.closed
    assert source.idle()


def test_what_waits_at_a_removed_listener_is_accepted_by_the_source() -> None:
    world = World(TWO)
    client = Socket(world, remote="192.0.2.9")
    world.queue("cache").append(client)
    world.move(msgspec.structs.replace(TWO, listeners=TWO.listeners[:1]))
    server = world.dialled()
    server.accept()
    assert both_ways(client, server)


def test_relay_whose_cluster_is_gone_stays_in_one_piece() -> None:
    world = World(TWO)
    client, server = relay(world, "cache")
    config = msgspec.structs.replace(
        TWO, listeners=(TWO.listeners[0], listener("cache", 6379, "db")), clusters=TWO.clusters[:1]
    )
    source = world.move(config)
    assert len(source.values()) == 2
    assert not world.proxy.values()
    assert set(source.staying().values()) == {"cluster 'cache' is not in the new configuration"}
    assert both_ways(client, server)


def test_relay_moves_when_its_listener_has_another_name() -> None:
    world = World(TWO)
    client, server = relay(world, "cache")
    world.move(msgspec.structs.replace(TWO, listeners=(listener("store", 6379, "cache"),)))
    assert [one["listener"] for one in world.proxy.connections() if "listener" in one] == ["store"]
    assert both_ways(client, server)


def test_listeners_are_matched_by_address_when_two_of_them_swap_their_names() -> None:
    world = World(TWO)
    client, server = relay(world)
    swapped = (listener("cache", 5432), listener("db", 6379, "cache"))
    world.move(Config(name="edge", listeners=swapped, clusters=TWO.clusters))
    assert both_ways(client, server)
    assert world.proxy.listeners["cache"].connections == 1
    assert world.proxy.listeners["db"].connections == 0


def test_relay_stays_when_its_listener_speaks_another_protocol() -> None:
    world = World(TWO)
    client, server = relay(world, "cache")
    source = world.move(
        msgspec.structs.replace(TWO, listeners=(TWO.listeners[0], listener("cache", 6379, "cache", "http1")))
    )
    assert set(source.staying().values()) == {"listener 'cache' spoke tcp and now speaks http1"}
    assert both_ways(client, server)


def test_relay_moves_when_its_endpoint_was_removed_and_no_new_one_goes_there() -> None:
    world = World(TWO)
    client, server = relay(world)
    assert str(server.address) == "127.0.0.1:9000"
    world.move(msgspec.structs.replace(TWO, clusters=(cluster("db", 9001), TWO.clusters[1])))
    assert both_ways(client, server)
    for _ in range(3):
        world.connect("db")
        assert str(world.dialled().address) == "127.0.0.1:9001"


def test_connections_accepted_while_copying_at_a_removed_listener_stay_too() -> None:
    world = World(TWO)
    world.proxy.agree({}, {"127.0.0.1:5432"})
    assert world.proxy.staying() == {}
    relay(world, "cache")
    assert len(world.proxy.staying()) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "carrier.pigeon"}, "does not know connections of the kind 'carrier.pigeon'"),
        ({"state": b"\xc1"}, "malformed"),
        ({"state": b""}, "malformed"),
        ({"state": msgspec.msgpack.encode([1, 2, 3])}, "malformed"),
        ({"fd": -1}, "without its descriptor"),
    ],
)
def test_value_that_cannot_be_restored_is_refused_and_its_descriptor_closed(
    change: dict[str, Any], reason: str
) -> None:
    world = World(TWO)
    relay(world)
    saved = save(world.proxy)[0]
    other = World(TWO)
    socket = Socket(other)
    fd = other.kernel.install(socket)
    with pytest.raises(CannotRestore, match=reason):
        other.proxy.restore(saved._replace(fd=fd)._replace(**change), 0.0)
    assert not other.proxy.values()
    assert socket.closed is (change.get("fd") != -1)


def test_shared_state_with_a_connection_missing_is_refused() -> None:
    world = World(TWO)
    relay(world)
    saved = save(world.proxy)[0]
    other = World(TWO)
    other.proxy.restore(saved._replace(fd=other.kernel.install(Socket(other))), 0.0)
    with pytest.raises(CannotRestore, match="belongs to connection 2, which never came"):
        other.proxy.restore_shared(world.proxy.save_shared(0.0), 0.0)


def test_other_side_may_come_first() -> None:
    world = World(TWO)
    relay(world)
    there = World(TWO)
    now = world.kernel.clock()
    for saved in reversed(save(world.proxy)):
        there.proxy.restore(saved._replace(fd=there.kernel.install(Socket(there))), now)
    there.proxy.restore_shared(world.proxy.save_shared(now), now)
    first, second = there.proxy.values().values()
    assert (first.serial, second.serial) == (1, 2), "in ascending order"
    assert first.peer is second
    assert second.peer is first
    assert save(there.proxy) == save(world.proxy)


def test_forgotten_connection_is_closed_here_and_lives_there() -> None:
    world = World(TWO)
    client, server = relay(world)
    kernel = world._boot()
    destination = world._proxy(kernel)
    world.copy(world.proxy, destination, kernel)
    assert (client.holders, server.holders) == (2, 2)
    for serial in list(destination.values()):
        destination.forget(serial)
    assert (client.holders, server.holders) == (1, 1)
    assert not client.ended
    assert not client.reset
    assert destination.listeners["db"].connections == 0
    assert [endpoint.in_flight for endpoint in destination.clusters["db"].endpoints] == [0, 0]
    assert both_ways(client, server)


def test_moved_connections_are_never_touched_by_the_source_again() -> None:
    world = World(TWO)
    client, server = relay(world)
    source = world.proxy
    world.move()
    assert client.holders == 1
    client.send(b"for the destination")
    source.reactor.tick()
    world.wait(3600)
    source.reactor.tick()
    assert server.take() == b"for the destination"


def test_destination_that_died_after_the_commit_costs_its_connections_and_refuses_nobody() -> None:
    world = World(TWO)
    client, server = relay(world)
    source = world.proxy
    source.sharing(True)
    source.freeze()
    source.retire((), {})
    assert not client.closed
    source.abandon()
    assert client.reset
    assert client.closed
    assert server.reset
    assert both_ways(*relay(world))


def test_destination_without_values_resets_what_it_was_given_and_accepts() -> None:
    world = World(TWO)
    client, server = relay(world)
    kernel = world._boot()
    destination = world._proxy(kernel)
    world.copy(world.proxy, destination, kernel)
    destination.abandon()
    assert client.reset
    assert server.reset
    world.proxy = destination
    assert both_ways(*relay(world))


def test_connections_end_though_another_process_holds_copies() -> None:
    world = World(TWO)
    client, server = relay(world)
    client.holders += 1
    server.holders += 1
    world.proxy.sharing(True)
    world.wait(61)
    assert client.ended
    assert server.ended


def test_serials_are_never_given_twice() -> None:
    world = World(TWO)
    relay(world, "db")
    source = world.proxy
    stayed = relay(world, "cache")
    world.move(msgspec.structs.replace(TWO, listeners=TWO.listeners[:1]))
    given = set(source.values()) | set(world.proxy.values())
    relay(world, "db")
    fresh = set(world.proxy.values()) - given
    assert len(fresh) == 2
    assert source.reactor.next_serial > 1 << 40
    assert both_ways(*stayed)


def test_balance_goes_on_where_it_was() -> None:
    endpoints = (
        EndpointConfig(address=Address.parse("127.0.0.1:9000"), weight=5),
        EndpointConfig(address=Address.parse("127.0.0.1:9001"), weight=2),
    )
    config = msgspec.structs.replace(
        TWO, clusters=(ClusterConfig(name="db", endpoints=endpoints, balance="weighted"), TWO.clusters[1])
    )

    def order(*, moving: bool) -> list[str]:
        world = World(config, moving=moving)
        ports = []
        for _ in range(14):
            world.connect("db")
            ports.append(str(world.dialled().address)[-1])
        return ports

    assert "".join(order(moving=False)) == "0100010" * 2
    assert order(moving=True) == order(moving=False)


def test_least_request_counts_what_was_moved() -> None:
    config = msgspec.structs.replace(
        TWO, clusters=(msgspec.structs.replace(TWO.clusters[0], balance="least_request"), TWO.clusters[1])
    )
    world = World(config, moving=True)
    first = relay(world)
    relay(world)
    for end in first:
        end.fin()
    world.connect("db")
    assert world.dialled().address == first[1].address


def test_status_tells_what_is_under_way() -> None:
    world = World(TWO, moving=True)
    relay(world)
    status = world.proxy.status()
    assert status["accepted"] == 1
    assert status["listeners"][0] == {
        "name": "db", "address": "127.0.0.1:5432", "protocol": "tcp", "connections": 1, "answered": 0, "failed": 0,
    }  # fmt: skip
    assert status["clusters"][0]["endpoints"][0] == {"address": "127.0.0.1:9000", "in_flight": 1, "idle": 0}
    downstream, upstream = world.proxy.connections()
    assert downstream["remote"] == "192.0.2.1"
    assert downstream["cluster"] == "db"
    assert upstream["endpoint"] == "127.0.0.1:9000"
    assert world.proxy.in_flight() == 0


def test_status_tells_how_this_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(TWO)
    monkeypatch.setattr(compiled, "MODE", "compiled")
    monkeypatch.setattr(compiled, "WHY_INTERPRETED", "")
    assert (world.proxy.status()["plane"], "why_interpreted" in world.proxy.status()) == ("compiled", False)
    monkeypatch.setattr(compiled, "MODE", "interpreted")
    monkeypatch.setattr(compiled, "WHY_INTERPRETED", "it was not built")
    status = world.proxy.status()
    assert (status["plane"], status["why_interpreted"]) == ("interpreted", "it was not built")
