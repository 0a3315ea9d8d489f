"""Rules of nft send real connections to the proxy, in network namespaces of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from tests.kit.client import Client
from tests.kit.networks import Networks
from tests.kit.processes import Config, Instance
from tests.kit.stage import Stage
from tests.kit.upstreams import Kind, Upstreams

HOSTS = {4: "10.77.0.2", 6: "[fd77::2]"}
# Without a rule that looks at ct, taking the last redirect away ends connection tracking, and what it translated.
CHAINS = """
table inet hotswap {
    chain redirected { type nat hook prerouting priority dstnat; }
    chain tracked { type filter hook prerouting priority filter; ct state established accept; }
    chain tproxied { type filter hook prerouting priority mangle; }
}
"""
REDIRECT = "add rule inet hotswap redirected tcp dport 8080 redirect to :15001\n"
TPROXY = """
add rule inet hotswap tproxied iifname != "lo" tcp dport 8080 tproxy ip to :15001 meta mark set 1 accept
add rule inet hotswap tproxied iifname != "lo" tcp dport 8080 tproxy ip6 to :15001 meta mark set 1 accept
"""

pytestmark = pytest.mark.all


@pytest.fixture
def networks() -> Iterator[Networks]:
    with Networks() as made:
        yield made


@pytest.fixture
def upstreams(networks: Networks) -> Iterator[Upstreams]:
    places: list[tuple[Kind, str]] = [("http", "10.77.0.2:8080"), ("http", "[fd77::2]:8080")]
    running = networks.proxy.run(lambda: Upstreams(*places))
    with running:
        yield running


def config(how: str, protocol: str) -> Config:
    listener = {"protocol": protocol, "cluster": "there", "original_dst": how}
    return {
        "name": "edge",
        "listeners": [
            {"name": "four", "address": "0.0.0.0:15001", **listener},
            {"name": "six", "address": "[::]:15001", **listener},
        ],
        "clusters": [{"name": "there", "endpoints": "original_dst", "mark": 7}],
    }


def serving(stage: Stage, networks: Networks, how: str, protocol: str) -> Instance:
    instance = stage.instance(config(how, protocol))
    networks.proxy.run(instance.start)
    networks.proxy.rules(CHAINS + (REDIRECT if how == "redirect" else TPROXY))
    return instance


def turned_away(networks: Networks, address: str) -> bool:
    """The reset can come before connect(2) has returned."""
    try:
        with networks.client.run(Client, address) as client:
            return client.ended()
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("protocol", ["tcp", "http1"])
@pytest.mark.parametrize("how", ["redirect", "tproxy"])
def test_clients_reach_where_they_wanted_to_go_through_an_upgrade(
    stage: Stage, networks: Networks, upstreams: Upstreams, how: str, protocol: str
) -> None:
    instance = serving(stage, networks, how, protocol)
    clients = [networks.client.run(Client, f"{host}:8080") for host in HOSTS.values()]
    for client in clients:
        assert client.ask("/bytes?n=10").status == 200
    assert len(instance.ask("/connections")["connections"]) == 4, "it went through the proxy"
    done = instance.upgrade("--require-all")
    assert done.exit_code == 0, done.text
    for client in clients:
        assert client.ask("/bytes?n=10").status == 200
        client.close()
    for host in HOSTS.values():
        with networks.client.run(Client, f"{host}:8080") as late:
            assert late.ask("/bytes?n=10").status == 200


@pytest.mark.parametrize("how", ["redirect", "tproxy"])
def test_who_comes_to_the_listener_itself_is_reset(
    stage: Stage, networks: Networks, upstreams: Upstreams, how: str
) -> None:
    instance = serving(stage, networks, how, "tcp")
    for host in HOSTS.values():
        assert turned_away(networks, f"{host}:15001")
    assert "it went to the listener itself" in instance.log_tail()


def test_a_rule_without_exemption_makes_no_loop(stage: Stage, networks: Networks, upstreams: Upstreams) -> None:
    instance = serving(stage, networks, "redirect", "tcp")
    output = "add chain inet hotswap sent { type nat hook output priority -100; }\n"
    networks.proxy.rules(output + "add rule inet hotswap sent tcp dport 8080 redirect to :15001\n")
    assert turned_away(networks, "10.77.0.2:8080")
    assert "one of this proxy's own" in instance.log_tail()
    exempted = "flush chain inet hotswap sent\nadd rule inet hotswap sent meta mark 7 return\n"
    networks.proxy.rules(exempted + "add rule inet hotswap sent tcp dport 8080 redirect to :15001\n")
    with networks.client.run(Client, "10.77.0.2:8080") as client:
        assert client.ask("/bytes?n=10").status == 200


def test_the_upstream_sees_the_clients_address(stage: Stage, networks: Networks, upstreams: Upstreams) -> None:
    """The answers go to the client's address, so they have to be routed back to the proxy's socket."""
    changed = config("redirect", "http1")
    for listener in changed["listeners"]:
        del listener["original_dst"]
    changed["listeners"].pop()
    changed["clusters"] = [{"name": "there", "endpoints": ["10.77.0.2:8080"], "transparent_source": True, "mark": 7}]
    instance = stage.instance(changed)
    networks.proxy.run(instance.start)
    own = "add chain inet hotswap own { type route hook output priority mangle; }\n"
    networks.proxy.rules(CHAINS + own + "add rule inet hotswap own tcp sport 8080 meta mark set 1\n")
    with networks.client.run(Client, "10.77.0.2:15001") as client:
        fields = client.ask("/headers")
        assert fields.status == 200
        assert msgspec.json.decode(fields.body)
        rows = instance.ask("/connections")["connections"]
        assert any("from 10.77.0.1" in str(row) or row["kind"] == "http1.upstream" for row in rows)


def test_rules_are_switched_under_load_with_an_upgrade_in_the_middle(
    stage: Stage, networks: Networks, upstreams: Upstreams
) -> None:
    instance = serving(stage, networks, "redirect", "http1")
    switched = threading.Event()
    failures: list[str] = []
    exchanges = [0] * 4

    def come_and_go(number: int) -> None:
        while not switched.is_set():
            try:
                with Client(f"{HOSTS[6 if number % 2 else 4]}:8080") as client:
                    for _ in range(3):
                        assert client.ask("/bytes?n=1000").status == 200
                        exchanges[number] += 1
            except Exception as error:  # noqa: BLE001  every one is a failure
                failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=networks.client.run, args=(come_and_go, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(10):
            flush = "flush chain inet hotswap redirected\n"
            networks.proxy.rules(flush + (REDIRECT if turn % 2 else ""))
            before = sum(exchanges)
            pause = threading.Event()
            while sum(exchanges) < before + 40 and not failures:
                pause.wait(0.01)
            if turn == 5:
                done = instance.upgrade("--require-all")
                assert done.exit_code == 0, done.text
    finally:
        switched.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert min(exchanges) > 0
