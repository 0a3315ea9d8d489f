"""Gauges are the true state whenever somebody asks; and what is gone is out of sight."""

from __future__ import annotations

import pytest

from tests.kit import bolt
from tests.proxy.bolt.scene import V1
from tests.proxy.metrics.scene import GET, OK, Counted, apply, ask, edge, gauges, names

AT = "app 127.0.0.1:9000"


@pytest.fixture
def world(moving: bool) -> Counted:
    return Counted(edge(), moving=moving)


def test_gauges_are_what_is_there(world: Counted) -> None:
    _, server = ask(world)
    server.send(OK)  # idle from here on
    world.connect("raw")
    world.dialled().accept()
    world.connect("raw")
    world.connect("rpc").send(bolt.call(V1, 1, b"") + bolt.call(V1, 2, b""))
    world.dials[-1].accept()
    assert gauges(world.proxy) == {
        "downstream_connections_active web http1 plain": 1,
        "downstream_connections_active raw tcp plain": 2,
        "downstream_connections_active rpc bolt plain": 1,
        "requests_active rpc": 2,
        f"upstream_connections_active {AT} plain idle": 1,
        f"upstream_connections_active {AT} plain active": 2,
        f"upstream_connections_active {AT} plain connecting": 1,
        f"upstream_requests_active {AT}": 4,
        f"upstream_healthy {AT}": 1,
    }


def test_gauges_fall_to_nothing_when_all_is_over(world: Counted) -> None:
    client, _ = ask(world)
    assert gauges(world.proxy)["requests_active web"] == 1
    client.rst()
    assert gauges(world.proxy) == {f"upstream_healthy {AT}": 1}


def test_retired_generation_tells_of_what_it_kept_and_the_owner_of_the_rest() -> None:
    world = Counted(edge())
    world.connect("raw")
    world.dialled().accept()
    ask(world)
    config = edge()
    source = world.move(type(config)(name="edge", listeners=config.listeners[:1], clusters=config.clusters))
    assert gauges(source, owns=False) == {
        "downstream_connections_active raw tcp plain": 1,
        f"upstream_connections_active {AT} plain active": 1,
    }
    assert gauges(world.proxy)["downstream_connections_active web http1 plain"] == 1
    assert "downstream_connections_active raw tcp plain" not in gauges(world.proxy)


def test_endpoints_that_came_and_went_are_out_of_sight() -> None:
    world = Counted(edge(endpoints=2))
    for _ in range(2):
        client, server = ask(world)
        server.send(OK)
        client.fin()
    gauges(world.proxy)
    assert {"127.0.0.1:9000", "127.0.0.1:9001"} <= names(world.proxy)
    apply(world, edge(endpoints=1))
    gauges(world.proxy)
    assert "127.0.0.1:9001" not in names(world.proxy)
    apply(world, edge(endpoints=2))
    gauges(world.proxy)
    assert "127.0.0.1:9001" in names(world.proxy)


def test_endpoint_that_is_gone_stays_in_sight_until_its_last_connection_ended() -> None:
    world = Counted(edge(endpoints=2))
    clients = [world.connect("raw") for _ in range(2)]
    for dial in world.dials:
        dial.accept()
    apply(world, edge(endpoints=1))
    assert gauges(world.proxy)["upstream_connections_active app 127.0.0.1:9001 plain active"] == 1
    assert "upstream_healthy app 127.0.0.1:9001" not in gauges(world.proxy)
    for client in clients:
        client.rst()
    gauges(world.proxy)
    assert "127.0.0.1:9001" not in names(world.proxy)
    assert "127.0.0.1:9000" in names(world.proxy)


def test_routes_listeners_and_clusters_go_with_their_configuration() -> None:
    more = ", {name: gone, endpoints: [127.0.0.1:9100]}"
    world = Counted(edge(listener=", routes: [{name: old, cluster: gone}]", more=more))
    client, server = ask(world)
    apply(world, edge(listener=", routes: [{name: new, cluster: app}]"))
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    gauges(world.proxy)
    assert not {"old"} & names(world.proxy)
    assert {"new", "gone"} <= names(world.proxy)  # the endpoint has a connection still
    server.send(b"ok")
    assert client.take()
    gauges(world.proxy)
    assert "gone" not in names(world.proxy)


def test_listener_that_is_renamed_counts_by_its_new_name() -> None:
    world = Counted(edge())
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.send(b"123")
    changed = edge()
    listeners = tuple(
        type(one)(name="renamed", address=one.address, protocol="tcp", routes=one.routes) if one.name == "raw" else one
        for one in changed.listeners
    )
    apply(world, type(changed)(name="edge", listeners=listeners, clusters=changed.clusters))
    client.send(b"4567")
    gauges(world.proxy)
    assert server.take() == b"1234567"
    assert world.only("received_bytes") == {
        "downstream_received_bytes renamed": 4,
    }


def test_endpoints_of_a_cluster_may_be_counted_together() -> None:
    world = Counted(edge(endpoints=2, metrics="per_endpoint: false"))
    for _ in range(2):
        _, server = ask(world, GET)
        server.send(OK)
    world.connect("raw")
    assert world.only("upstream_requests") == {"upstream_requests app - 2xx": 2}
    seen = gauges(world.proxy)
    assert seen["upstream_healthy app -"] == 2
    assert seen["upstream_connections_active app - plain connecting"] == 1
    assert not {"127.0.0.1:9000", "127.0.0.1:9001"} & names(world.proxy)


def test_buckets_are_those_of_the_configuration() -> None:
    world = Counted(edge(metrics="first_bucket: 10ms, buckets: 3"))
    assert world.proxy.families.durations.shape.bounds == (0.01, 0.02, 0.04)
    assert world.proxy.families.connect_durations.shape.bounds == (0.01, 0.02, 0.04)


def test_tcp_listeners_have_no_requests() -> None:
    world = Counted(edge())
    labelled = {
        (shape.name, values)
        for shape, members in world.proxy.metrics.collect()
        for values, _ in members
        if "raw" in values
    }
    assert labelled
    assert not any(name.startswith("hotswap_request") for name, _ in labelled)
