"""Limits of clusters whose endpoints speak HTTP/2, and what is counted of them."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.model import AccessLogConfig, LimitsConfig
from tests.proxy.http1.scene import GET, post, status
from tests.proxy.http2.backend import OK, Site
from tests.proxy.http2.browser import Browser

Build = Callable[..., Site]


def limited(site: Build, cluster: dict[str, object] | None = None, **limits: int) -> Site:
    return site(limits=LimitsConfig(**limits), **(cluster or {}))


def test_max_requests(site: Build) -> None:
    world = limited(site, max_requests=2)
    clients, browser = [world.ask() for _ in range(2)], Browser(world)
    refused = browser.heard(browser.ask())
    assert (refused.status, refused.ended) == (503, True)
    server = world.server()
    server.answer(1)
    assert status(clients[0].take()) == 200
    stream = browser.ask()
    server.answer(5)
    assert browser.heard(stream).status == 200
    assert world.only("overflows") == {"upstream_overflows app": 1.0}
    server.answer(3)
    world.at_rest()


def test_max_connections(site: Build) -> None:
    """A full connection is no reason to wait: as with HTTP/1.1, what would need another one is refused."""
    world = limited(site, max_connections=1)
    client = world.ask()
    server = world.server(streams=1)
    other = world.ask()
    assert status(other.take()) == 503
    server.answer(1)
    assert status(client.take()) == 200
    other.send(GET)
    server.answer(3)
    assert status(other.take()) == 200
    world.at_rest()


def test_max_pending(site: Build) -> None:
    world = limited(site, {"shared_connections": 1}, max_pending=1)
    first = world.ask()
    second = world.ask()  # on the connection that is being made
    server = world.server()
    server.permit(streams=2)
    waiting = world.ask()
    refused = world.ask()
    assert status(refused.take()) == 503
    for stream, client in ((1, first), (3, second), (5, waiting)):
        server.answer(stream)
        assert status(client.take()) == 200
    world.at_rest()


def test_what_is_counted(site: Build) -> None:
    world = site()
    client, browser = world.ask(), Browser(world)
    stream = browser.ask()
    server = world.server()
    server.answer(1, b"hello")
    server.answer(3, status=b"503")
    client.take()
    assert browser.heard(stream).status == 503
    gone = world.ask(post(b"body"))
    server.reset(5, 2)
    assert status(gone.take()) == 502
    half = world.ask()
    server.head(7, OK, (b"content-length", b"9"))
    server.reset(7, 2)
    assert half.ended
    assert world.told() == {
        "downstream_failures web broken_off": 1.0,
        "request_duration web host=a": 4.0,
        "requests web host=a 2xx": 2.0,
        "requests web host=a 5xx": 2.0,
        "upstream_request_duration app 127.0.0.1:9000": 2.0,
        "upstream_requests app 127.0.0.1:9000 2xx": 2.0,
        "upstream_requests app 127.0.0.1:9000 5xx": 1.0,
        "upstream_resets app 127.0.0.1:9000": 2.0,
    }
    world.at_rest()


def test_endpoints_in_turn_and_by_what_is_under_way(site: Build) -> None:
    world = site(endpoints=2, balance="least_request")
    for _ in range(4):
        world.ask()
    servers = [world.server() for _ in range(2)]
    assert [len(server.open) for server in servers] == [2, 2]
    servers[0].answer(1)
    servers[0].answer(3)
    for _ in range(2):
        world.ask()
    assert [len(server.open) for server in servers] == [4, 2]
    assert {len(one.shared[20]) for one in world.proxy.clusters["app"].endpoints} == {1}


def test_the_access_log_tells_the_version_of_each_client(site: Build) -> None:
    log = AccessLogConfig(to="/log", template="{version} {status} {endpoint}")
    world = site(listener={"access_log": log})
    client, browser = world.ask(), Browser(world)
    browser.ask()
    server = world.server()
    for stream in (1, 3):
        server.answer(stream)
    assert status(client.take()) == 200
    browser.listen()
    assert world.lines["/log"] == [f"HTTP/{version} 200 127.0.0.1:9000" for version in ("1.1", "2.0")]
    world.at_rest()
