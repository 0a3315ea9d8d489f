"""What becomes of endpoints when the answers for their name change. Every playbook runs through handovers as well."""

from __future__ import annotations

import pytest

from hotswap.handover.rounds import Limits
from proxy.config.loader import loads
from proxy.config.model import Config
from proxy.reload import ProxyReload
from tests.proxy.dns.asker import answer, asker, fail, pass_time
from tests.proxy.honoured import GET, OK, ask, honours, status
from tests.proxy.simulation import World

NAME = "app.test"


def config(more: str = "", endpoints: str = "app.test:9000") -> Config:
    return loads(f"""\
name: edge
dns: {{wait: 5s}}
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}}
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}}
clusters: [{{name: app, endpoints: [{endpoints}]{more}}}]
""").config


@pytest.fixture
def world(moving: bool) -> World:
    return World(config(), moving=moving)


def later(world: World, seconds: float) -> None:
    world.wait(seconds)
    pass_time(world.kernel.clock())


def goes_to(world: World, count: int = 4) -> list[str]:
    found = []
    for _ in range(count):
        client = world.connect("raw")
        server = world.dialled()
        found.append(str(server.address))
        server.accept()
        client.rst()
    return sorted(set(found))


def about(world: World) -> dict[str, object]:
    (entry,) = world.proxy.names.status()
    return entry


def test_before_the_first_answer_requests_get_503_and_nobody_is_told_to_come(world: World) -> None:
    client = world.connect("web")
    client.send(GET)
    assert status(client) == 503
    assert world.proxy.names.trouble() == "no answer yet for the name app.test"
    answer(NAME, "10.0.0.1")
    assert world.proxy.names.trouble() == ""
    assert goes_to(world) == ["10.0.0.1:9000"]


def test_readiness_waits_for_a_bounded_time(world: World) -> None:
    world.wait(4.9)
    assert world.proxy.names.trouble()
    world.wait(0.2)
    assert not world.proxy.names.trouble()


def test_every_address_of_both_families_is_an_endpoint(world: World) -> None:
    answer(NAME, "10.0.0.2", "10.0.0.1", "::1")
    assert goes_to(world, 6) == ["10.0.0.1:9000", "10.0.0.2:9000", "[::1]:9000"]


def test_an_address_that_is_gone_gets_nothing_new_and_finishes_what_it_has(world: World) -> None:
    answer(NAME, "10.0.0.1")
    idle_client, idle = ask(world)
    busy_client, busy = ask(world)
    idle.send(OK)
    assert status(idle_client) == 200
    later(world, 10.1)
    answer(NAME, "10.0.0.2")
    world.settle()
    assert idle.closed
    assert not busy.closed
    assert goes_to(world) == ["10.0.0.2:9000"]
    busy.send(OK)
    assert status(busy_client) == 200
    assert busy.closed, "nothing idle is kept there"


def test_a_name_is_asked_for_again_after_its_ttl(world: World) -> None:
    answer(NAME, "10.0.0.1", ttl=10)
    later(world, 9.9)
    assert asker().asked == {}
    later(world, 0.2)
    assert list(asker().asked) == [NAME]


def test_a_lookup_that_fails_keeps_the_last_good_answer_and_is_repeated_with_a_growing_pause(world: World) -> None:
    answer(NAME, "10.0.0.1")
    later(world, 10.1)
    for pause in (1.0, 2.0, 4.0):
        fail(NAME)
        assert goes_to(world) == ["10.0.0.1:9000"]
        assert about(world)["error"] == "no answer within 5 s"
        later(world, pause - 0.1)
        assert asker().asked == {}
        later(world, 0.2)
    answer(NAME, "10.0.0.2")
    assert (about(world)["failures"], about(world)["failed"], about(world)["error"]) == (0, 3, "")
    assert goes_to(world) == ["10.0.0.2:9000"]


def test_a_name_without_an_address_has_no_endpoints(world: World) -> None:
    answer(NAME, "10.0.0.1")
    later(world, 10.1)
    answer(NAME)
    client = world.connect("web")
    client.send(GET)
    assert status(client) == 503
    later(world, 10.1)
    answer(NAME, "10.0.0.1")
    assert goes_to(world) == ["10.0.0.1:9000"]


def test_ejections_of_addresses_that_stay_are_kept(moving: bool) -> None:
    world = World(config(", outlier: {connect_failures: 1, cooldown: 60s}"), moving=moving)
    answer(NAME, "10.0.0.1", "10.0.0.2")
    world.connect("raw")
    world.dialled().refuse()
    world.dialled().accept()
    later(world, 10.1)
    answer(NAME, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert goes_to(world, 6) == ["10.0.0.2:9000", "10.0.0.3:9000"]


def test_an_answer_moves_with_what_is_left_of_its_ttl() -> None:
    world = World(config())
    answer(NAME, "10.0.0.1", ttl=10)
    world.wait(4.0)
    world.move()
    assert about(world)["next_in"] == pytest.approx(6.0)
    assert goes_to(world) == ["10.0.0.1:9000"]


def test_a_lookup_under_way_is_asked_again_by_whoever_owns() -> None:
    world = World(config())
    before = asker()
    world.move()
    assert before.asked == {}
    assert list(asker().asked) == [NAME]


def test_a_reload_keeps_answers_and_the_old_endpoints_until_a_new_name_has_one() -> None:
    world = World(config())
    answer(NAME, "10.0.0.1")
    ProxyReload(world.proxy, config(", max_idle: 1"), Limits()).apply({})
    assert goes_to(world) == ["10.0.0.1:9000"]
    ProxyReload(world.proxy, config(endpoints="other.test:9000"), Limits()).apply({})
    assert goes_to(world) == ["10.0.0.1:9000"]
    answer("other.test", "10.0.0.7")
    assert goes_to(world) == ["10.0.0.7:9000"]


@honours("cluster.family")
def test_family_is_what_is_asked_for() -> None:
    world = World(config(", family: ipv4"))
    assert about(world)["family"] == "ipv4"


def test_answers_of_endpoints_that_are_gone_still_count() -> None:
    world = World(config())
    answer(NAME, "10.0.0.1")
    world.proxy.clusters["app"].endpoints[0].calls = 3
    before = world.proxy.tally().requests
    later(world, 10.1)
    answer(NAME, "10.0.0.2")
    assert world.proxy.tally().requests == before
