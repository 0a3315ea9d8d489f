"""A server that sent its readonly event goes: for a while others are asked first, as long as there are any."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from proxy.config.loader import loads
from proxy.dubbo.upstream import REST
from tests.kit import dubbo
from tests.proxy.dubbo.scene import rpc, statuses, taken
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket


class Site:
    """A client, and servers that answer everything at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = world.connect("rpc")
        self.servers: list[Socket] = []
        self.calls = 0

    def ask(self, count: int = 8) -> Counter[str]:
        """So many calls, one after the other: who answered how many of them."""
        found: Counter[str] = Counter()
        for _ in range(count):
            self.calls += 1
            self.client.send(dubbo.call(self.calls, b""))
            while self.world.dials:
                self.servers.append(self.world.dialled())
                self.servers[-1].accept()
            for server in self.servers:
                for frame in taken(server):
                    if frame.is_call:
                        found[str(server.address)] += 1
                        server.send(dubbo.answer(frame.id, b""))
            assert statuses(self.client) == {self.calls: 20}
        return found

    def go(self, server: Socket) -> str:
        """It wants no more calls; its address."""
        server.send(dubbo.READONLY)
        assert server.ended, "nothing was under way"
        self.servers.remove(server)
        return str(server.address)


@pytest.fixture
def site(moving: bool) -> Site:
    return Site(World(rpc(endpoints=3), moving=moving))


def test_the_others_get_its_calls_and_it_is_not_dialled(site: Site) -> None:
    everybody = site.ask()
    assert len(everybody) == 3
    gone = site.go(site.servers[0])
    calls = site.ask(10)
    assert set(calls) == set(everybody) - {gone}
    assert max(calls.values()) <= 6, "they share them"
    site.world.wait(REST - 0.5)
    assert gone not in site.ask()
    site.world.wait(1.0)
    assert gone in site.ask()


def test_where_all_go_they_are_asked_still(site: Site) -> None:
    everybody = site.ask()
    for server in list(site.servers):
        site.go(server)
    assert set(site.ask()) == set(everybody)


def test_one_that_goes_is_better_than_one_that_is_not_there(moving: bool) -> None:
    site = Site(World(rpc(endpoints=2), moving=moving))
    site.ask()
    first, second = site.servers
    gone = site.go(first)
    site.world.refusing[str(second.address)] = 111
    site.servers.remove(second)
    second.rst()
    assert set(site.ask(3)) == {gone}


def test_an_endpoint_alone_is_asked_still(moving: bool) -> None:
    site = Site(World(rpc(), moving=moving))
    (only,) = site.ask(1)
    site.go(site.servers[0])
    assert site.ask(3) == {only: 3}


def test_only_those_of_the_subset_count(moving: bool) -> None:
    world = World(
        loads(
            """\
name: edge
listeners:
  - name: rpc
    address: 127.0.0.1:80
    protocol: dubbo
    routes: [{cluster: app, subset: {v: b}}]
clusters:
  - name: app
    endpoints:
      - 127.0.0.1:9000
      - {address: 127.0.0.1:9001, labels: {v: b}}
      - {address: 127.0.0.1:9002, labels: {v: b}}
"""
        ).config,
        moving=moving,
    )
    site = Site(world)
    site.ask()
    site.go(site.servers[0])
    assert len(site.ask()) == 1
    site.go(site.servers[-1])
    assert set(site.ask()) == {"127.0.0.1:9001", "127.0.0.1:9002"}
