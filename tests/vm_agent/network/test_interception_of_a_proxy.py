"""Real proxies behind the rules: every request goes through them, whatever is upgraded meanwhile."""

from __future__ import annotations

import msgspec
import pytest

from tests.kit.background import Background
from tests.kit.client import Client
from tests.kit.networks import Network, Networks
from tests.kit.offspring import wait_for_stop
from tests.kit.processes import Config, Instance, finish_upgrade
from tests.kit.stage import Stage
from tests.kit.upstreams import Kind, Upstreams
from tests.kit.waiting import eventually
from vm_agent.network import interception
from vm_agent.network.rules import Ruleset, plan
from vm_agent.network.sockets import Watch, look
from vm_agent.spec.model import Redirect, Run, Spec

pytestmark = pytest.mark.all

MARK = 0x4853
WAYS = [(mode, direction) for mode in ("redirect", "tproxy") for direction in ("inbound", "outbound")]


def ruleset(mode: str, direction: str) -> Ruleset:
    redirect = msgspec.convert({"mode": mode, "ports": [8080], "to": 15001, "direction": direction}, Redirect)
    run = Run(capabilities=("CAP_NET_ADMIN",))
    return plan(Spec(name="edge", release="1", config="/etc/edge.yaml", run=run, intercept=(redirect,)))


def config(how: str) -> Config:
    listener = {"protocol": "http1", "cluster": "there", "original_dst": how}
    return {
        "name": "edge",
        "listeners": [
            {"name": "four", "address": "0.0.0.0:15001", **listener},
            {"name": "six", "address": "[::]:15001", **listener},
        ],
        "clusters": [{"name": "there", "endpoints": "original_dst", "mark": MARK}],
    }


class Scene:
    """A proxy on one machine. Clients are on the other one, or on the same: then servers are on the other."""

    def __init__(self, stage: Stage, networks: Networks, mode: str, direction: str) -> None:
        inbound = direction == "inbound"
        self.machine = networks.proxy
        self.clients = networks.client if inbound else networks.proxy
        number = 2 if inbound else 1
        self.addresses = [f"10.77.0.{number}:8080", f"[fd77::{number}]:8080"]
        self.servers = networks.proxy if inbound else networks.client
        self.rules = ruleset(mode, direction)
        self.instance: Instance = stage.instance(config(mode))

    def start(self) -> None:
        self.machine.run(self.instance.start)

    def upstreams(self) -> Upstreams:
        places: list[tuple[Kind, str]] = [("http", address) for address in self.addresses]
        return self.servers.run(lambda: Upstreams(*places))

    def apply(self) -> bool:
        return self.machine.run(interception.apply, self.rules)


def through_the_proxy(client: Client) -> bool:
    """What came to the server says so."""
    response = client.ask("/headers")
    assert response.status == 200
    return b"x-forwarded-for" in response.body.lower()


class Visitors(Background):
    """Connections that come, ask twice, and go."""

    def __init__(self, network: Network, address: str) -> None:
        super().__init__()
        self.network, self.address = network, address
        self.visits = 0
        self.failures: list[str] = []

    def run(self) -> None:
        self.network.run(self._visit)

    def _visit(self) -> None:
        while not self.over.is_set():
            try:
                with Client(self.address) as client:
                    for _ in range(2):
                        if not through_the_proxy(client):
                            self.failures.append("it slipped through")
                self.visits += 1
            except Exception as error:  # noqa: BLE001  every one is a failure
                self.failures.append(f"{type(error).__name__}: {error}")

    def more(self, count: int) -> None:
        before = self.visits
        eventually(lambda: self.visits >= before + count or self.failures, within=60, what="visits")


@pytest.fixture(params=WAYS, ids="-".join)
def scene(request: pytest.FixtureRequest, stage: Stage, networks: Networks) -> Scene:
    return Scene(stage, networks, *request.param)


def test_no_connection_slips_through_while_the_proxy_is_upgraded(scene: Scene) -> None:
    with scene.upstreams():
        scene.start()
        assert scene.apply()
        kept = [scene.clients.run(Client, address) for address in scene.addresses]
        assert all(map(through_the_proxy, kept))
        visitors = [Visitors(scene.clients, address) for address in scene.addresses]
        with visitors[0], visitors[1]:
            for _ in range(2):
                for one in visitors:
                    one.more(10)
                pid = scene.instance.status().pid
                done = scene.instance.upgrade("--require-all")
                assert done.exit_code == 0, done.text
                assert scene.instance.status().pid != pid
                assert not scene.apply(), "the rules are as they were"
            for one in visitors:
                one.more(10)
        assert [one.failures for one in visitors] == [[], []]
        assert all(map(through_the_proxy, kept))
        for client in kept:
            client.close()


def test_connections_that_were_there_before_the_rules_go_on(scene: Scene) -> None:
    with scene.upstreams():
        scene.start()
        early = [scene.clients.run(Client, address) for address in scene.addresses]
        assert not any(map(through_the_proxy, early))
        scene.apply()
        assert not any(map(through_the_proxy, early))
        late = [scene.clients.run(Client, address) for address in scene.addresses]
        assert all(map(through_the_proxy, late))
        scene.machine.run(interception.apply, plan(Spec(name="edge", release="1", config="/etc/edge.yaml")))
        assert all(map(through_the_proxy, late)), "nor do rules that are dropped take theirs along"
        for address in scene.addresses:
            with scene.clients.run(Client, address) as direct:
                assert not through_the_proxy(direct)
        for client in [*early, *late]:
            client.close()
        scene.machine.run(interception.remove, "edge")


def test_the_listeners_of_a_proxy_are_as_promised_through_an_upgrade(stage: Stage, networks: Networks) -> None:
    scene = Scene(stage, networks, "redirect", "inbound")
    promised = [one["address"] for one in scene.instance.config["listeners"]]
    promised.append(f"unix:{scene.instance.runtime_dir}/edge/control.sock")
    scene.start()
    watch = Watch()
    pid = scene.instance.status().pid
    assert watch.check(promised, pid, everybody=True) == ()
    scene.instance.arm("destination.send_prepared.before:stop")
    attempt = scene.instance.start_upgrade("--timeout", "60s")
    (destination,) = eventually(lambda: set(scene.instance.generations()) - {pid}, within=60, what="a destination")
    wait_for_stop(destination, within=60)
    there = look(promised, pid, everybody=True)
    assert {pid, destination} <= {one.pid for _, some in there.holders for one in some}, "both have them"
    assert watch.check(promised, pid, everybody=True) == (), "and both by right"
    scene.instance.resume(destination)
    finish_upgrade(attempt)
    scene.instance.disarm()
    done = scene.instance.upgrade("--require-all")
    assert done.exit_code == 0, done.text
    assert watch.check(promised, scene.instance.status().pid, everybody=True) == ()
