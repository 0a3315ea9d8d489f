"""Bolt peers that nobody here wrote, on both sides of the proxy, through upgrades."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import pytest

from tests.kit.bolt_peers import Absent, Peer, Report, anthunder, node
from tests.kit.ports import free_port, loopback, port_of
from tests.kit.processes import Instance
from tests.kit.stage import STORM, Edge, Stage
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(400)]
UPGRADES = 3
MANY = 20
WEATHER = msgspec.structs.replace(STORM, bolt=20, bolt_calls=16, bolt_rate=200)  # these count their heartbeats


def have(program: Callable[[], list[str]]) -> list[str]:
    """Its command line, or a skip."""
    try:
        return program()
    except Absent as reason:
        pytest.skip(str(reason))


def edge(stage: Stage, behind: str) -> tuple[Instance, str]:
    address = loopback()
    instance = stage.instance(
        {
            "name": "edge",
            "listeners": [
                {
                    "name": "rpc",
                    "address": address,
                    "protocol": "bolt",
                    "routes": [{"match": {"service": "test.Echo:*"}, "cluster": "calls"}],
                }
            ],
            "clusters": [{"name": "calls", "endpoints": [behind]}],
        }
    )
    instance.start()
    return instance, address


def through_upgrades(instance: Instance, *clients: Peer) -> list[Report]:
    for _ in range(UPGRADES):
        eventually(lambda: instance.status().in_flight > 0, within=20, what="calls are under way")
        done = instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
    return [client.finish() for client in clients]


@pytest.mark.parametrize("versions", [(1,), (2,), (1, 2)])
def test_sofa_rpc_node_calls_sofa_rpc_node(stage: Stage, versions: tuple[int, ...]) -> None:
    program = have(node)
    port = free_port()
    with Peer(program, "server.js", port) as _:
        instance, address = edge(stage, f"127.0.0.1:{port}")
        clients = [Peer(program, "client.js", address, version, 5, 16) for version in versions]
        try:
            for client in clients:
                client.wait()
            reports = through_upgrades(instance, *clients)
        finally:
            for client in clients:
                client.__exit__(None, None, None)
    for report in reports:
        assert report.failures == []
        assert report.calls > 100


def test_anthunder_notices_nothing(stage: Stage) -> None:
    program = have(anthunder)
    upstreams = stage.upstreams(("bolt", "127.0.0.1:0"))
    instance, address = edge(stage, upstreams.addresses[0])
    with Peer(program, "caller.py", port_of(address), 16) as client:
        for _ in range(UPGRADES):
            done = instance.upgrade("--require-all")
            assert done.exit_code == 0, done.text
        report = client.finish()
    assert report.failures == []
    assert report.calls > 100
    assert upstreams.record().wrong == []


def test_two_hundred_connections_of_real_peers_beside_http_and_tcp(stage: Stage) -> None:
    """98 of sofa-rpc-node in each version and 4 of anthunder, 16 calls under way on each, in the storm: 20 upgrades."""
    javascript, python = have(node), have(anthunder)
    port, address, apart = free_port(), loopback(), loopback()
    behind = stage.upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))
    edge = Edge(stage, behind)
    config = edge.instance.config
    for listener in config["listeners"]:
        if listener["protocol"] == "http1":
            listener["keepalive_timeout"] = "10m"  # on a busy machine the storm outlasts the usual one
    config["listeners"].append({"name": "node", "address": address, "protocol": "bolt", "cluster": "node"})
    config["clusters"].append({"name": "node", "endpoints": [f"127.0.0.1:{port}"]})
    # anthunder cannot read requests of servers, which go to whoever called last: it shares no connection with the load
    config["listeners"].append({"name": "python", "address": apart, "protocol": "bolt", "cluster": "python"})
    config["clusters"].append({"name": "python", "endpoints": [behind.addresses[2]]})
    edge.instance.write_config()
    with ExitStack() as peers:
        peers.enter_context(Peer(javascript, "server.js", port))
        edge.instance.start()
        clients = [Peer(javascript, "client.js", address, version, 98, 16, 4000) for version in (1, 2)]
        clients += [Peer(python, "caller.py", port_of(apart), 16) for _ in range(4)]
        for client in clients:
            peers.enter_context(client)
        load = edge.load(WEATHER)
        for _ in range(MANY):
            eventually(lambda: edge.instance.status().in_flight > 2000, within=30, what="calls are under way")
            done = edge.instance.upgrade("--require-all")
            assert done.exit_code == 0, done.text
            assert done.result["kept"] == []
            assert load.turn().failures == []
        reports = [client.finish() for client in clients]
    storm = load.finish()
    print(storm.summary(), [report.calls for report in reports])
    assert storm.failures == []
    for report in reports:
        assert report.failures == []
        assert report.calls > 100
    assert behind.record().wrong == []
