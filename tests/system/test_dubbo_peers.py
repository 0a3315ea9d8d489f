"""Dubbo peers that nobody here wrote, on both sides of the proxy, through upgrades."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import pytest

from tests.kit.dubbo_peers import CALLER, CLIENT, SERVER, Absent, Peer, Report, node, python
from tests.kit.ports import free_port, loopback
from tests.kit.processes import Instance
from tests.kit.stage import STORM, Edge, Stage
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(400)]
UPGRADES = 3
MANY = 20
WEATHER = msgspec.structs.replace(STORM, dubbo=20, dubbo_calls=16, dubbo_rate=200)
ROUTES = [
    {"match": {"interface": "test.Echo", "method": "echo", "version": "1.0.0"}, "cluster": "calls"},
    {"match": {"group": "none"}, "cluster": "calls"},  # so that every call is walked through
]


def have(program: Callable[[], list[str]]) -> list[str]:
    """Its command line, or a skip."""
    try:
        return program()
    except Absent as reason:
        pytest.skip(str(reason))


def edge(stage: Stage, port: int) -> tuple[Instance, str]:
    address = loopback()
    cluster = {
        "name": "calls",
        "endpoints": [f"127.0.0.1:{port}"],
        "health_check": {"check": "dubbo", "interval": "1s"},
    }
    listener = {"name": "rpc", "address": address, "protocol": "dubbo", "routes": ROUTES}
    instance = stage.instance({"name": "edge", "listeners": [listener], "clusters": [cluster]})
    instance.start()
    return instance, address


def through_upgrades(instance: Instance, clients: list[Peer]) -> list[Report]:
    for _ in range(UPGRADES):
        eventually(lambda: instance.status().in_flight > 0, within=20, what="calls are under way")
        done = instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
    return [client.finish() for client in clients]


@pytest.mark.parametrize("peer", ["sofa-rpc-node", "dubbo-python", "both"])
def test_peers_notice_nothing(stage: Stage, peer: str) -> None:
    javascript, port = have(node), free_port()
    with ExitStack() as peers:
        peers.enter_context(Peer(javascript, SERVER, port))
        instance, address = edge(stage, port)
        clients = []
        if peer != "dubbo-python":
            clients.append(Peer(javascript, CLIENT, address, 5, 16))
        if peer != "sofa-rpc-node":
            clients.append(Peer(have(python), CALLER, address, 8))
        for client in clients:
            peers.enter_context(client)
        for report in through_upgrades(instance, clients):
            assert report.failures == []
            assert report.calls > 100


def test_many_connections_of_real_peers_beside_the_storm(stage: Stage) -> None:
    """98 of sofa-rpc-node and 4 of dubbo-python, 16 and 8 calls under way on each, in the storm: 20 upgrades."""
    javascript, caller = have(node), have(python)
    port, address, load_address = free_port(), loopback(), loopback()
    behind = stage.upstreams(*((kind, "127.0.0.1:0") for kind in ("http", "tcp", "bolt", "dubbo")))
    edge = Edge(stage, behind)
    config = edge.instance.config
    for listener in config["listeners"]:
        if listener["protocol"] == "http1":
            listener["keepalive_timeout"] = "10m"  # on a busy machine the storm outlasts the usual one
    config["listeners"].append({"name": "peers", "address": address, "protocol": "dubbo", "cluster": "peers"})
    config["clusters"].append({"name": "peers", "endpoints": [f"127.0.0.1:{port}"]})
    # the peers cannot read requests of servers, which go to whoever called last: they share no connection with the load
    config["listeners"].append({"name": "load", "address": load_address, "protocol": "dubbo", "cluster": "load"})
    config["clusters"].append({"name": "load", "endpoints": [behind.addresses[3]]})
    edge.instance.write_config()
    with ExitStack() as peers:
        peers.enter_context(Peer(javascript, SERVER, port))
        edge.instance.start()
        clients = [Peer(javascript, CLIENT, address, 98, 16, 4000)]
        clients += [Peer(caller, CALLER, address, 8) for _ in range(4)]
        for client in clients:
            peers.enter_context(client)
        load = edge.load(msgspec.structs.replace(WEATHER, dubbo_address=load_address))
        for _ in range(MANY):
            eventually(lambda: edge.instance.status().in_flight > 1000, within=30, what="calls are under way")
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
