"""Filters of one route: after those of the listener, for its requests only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hotswap.errors import ConfigError
from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.filters import Client, Filter, Request, Response, Settings, Verdict
from proxy.filters.registry import FILTERS
from tests.proxy.filters.test_reload import reload
from tests.proxy.simulation import Socket, World

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Build = Callable[..., World]


def text(routed: str, filters: str = "", protocol: str = "http1") -> str:
    filters = f"filters: [{filters}], " if filters else ""
    routed = f", filters: [{routed}]" if routed else ""
    return f"""\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:80
    protocol: {protocol}
    {filters.rstrip(", ")}
    routes:
      - {{match: {{headers: {{x-to: a}}}}, cluster: a{routed}}}
      - {{cluster: b}}
clusters:
  - {{name: a, endpoints: [127.0.0.1:9000]}}
  - {{name: b, endpoints: [127.0.0.1:9001]}}
"""


@pytest.fixture
def proxy(moving: bool) -> Build:
    return lambda *args: World(loads(text(*args)).config, moving=moving)


def get(route: str = "a", more: bytes = b"") -> bytes:
    return b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: 7\r\nX-To: %b\r\n%b\r\n" % (route.encode(), more)


def ask(world: World, request: bytes) -> tuple[Socket, Socket]:
    client = world.connect("web")
    client.send(request)
    server = world.dialled()
    server.accept()
    return client, server


def status(client: Socket) -> int:
    return int(client.take()[9:12] or 0)


class Named(Filter):
    """Marks what passes."""

    class Config(Settings, frozen=True):
        name: str

    def request(self, request: Request, now: float) -> Verdict:
        request.notes["name"] = self.config.name
        request.add("x-passed", self.config.name)
        request.remove("x-to")
        return None

    def response(self, response: Response, now: float) -> None:
        response.add("x-passed", response.notes["name"])


def test_other_routes_do_without(proxy: Build) -> None:
    world = proxy("{name: fault, config: {abort_percent: 100}}")
    client = world.connect("web")
    client.send(get("a"))
    assert status(client) == 503
    client.send(get("b"))
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert status(client) == 200
    client.send(get("a"))
    assert status(client) == 503


def test_they_come_after_those_of_the_listener_and_first_on_the_way_back(
    proxy: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Outer(Named):
        def request(self, request: Request, now: float) -> Verdict:
            request.notes["name"] = self.config.name
            request.add("x-passed", self.config.name)
            return None

    monkeypatch.setitem(FILTERS, "named", Named)
    monkeypatch.setitem(FILTERS, "outer", Outer)
    delay = "{name: fault, config: {delay: 1}}"
    world = proxy(
        f"{{name: named, config: {{name: route}}}}, {delay}, {{name: named, config: {{name: again}}}}",
        f"{delay}, {{name: outer, config: {{name: listener}}}}",
    )
    client = world.connect("web")
    client.send(get("a"))
    world.wait(1.1)
    assert world.dials == []
    world.wait(1.1)
    server = world.dialled()
    assert server.address is not None
    assert server.address.port == 9000  # though the field that the route matches is gone
    server.accept()
    passed = [line for line in server.take().split(b"\r\n") if line.startswith(b"x-passed")]
    assert passed == [b"x-passed: listener", b"x-passed: route", b"x-passed: again"]
    server.send(OK)
    passed = [line for line in client.take().split(b"\r\n") if line.startswith(b"x-passed")]
    assert passed == [b"x-passed: again", b"x-passed: route", b"x-passed: listener"]


def test_what_they_keep_moves_and_survives_a_reload(proxy: Build) -> None:
    limit = "{name: rate_limit, config: {rate: 0.01, burst: 2%s}}"
    world = proxy(limit % "")
    client, server = ask(world, get())
    server.send(OK)
    assert status(client) == 200
    client.send(get())
    server.send(OK)
    assert status(client) == 200
    client.send(get())
    assert status(client) == 429
    reload(world, text(limit % ", status: 503"))
    client.send(get())
    assert status(client) == 503


def test_delayed_request_goes_on_when_the_filters_of_its_route_are_gone(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 1}}")
    client = world.connect("web")
    client.send(get())
    reload(world, text(""))
    world.wait(1.1)
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert status(client) == 200


def test_mirror_of_one_route(proxy: Build) -> None:
    world = proxy("{name: mirror, config: {cluster: b}}")
    world.connect("web").send(get())
    assert sorted(one.address.port for one in world.dials if one.address) == [9000, 9001]


@pytest.mark.parametrize(
    ("routed", "protocol", "problem"),
    [
        ("fualt", "http1", "listeners[0].routes[0].filters[0]: there is no filter 'fualt'; did you mean fault?"),
        ("fault", "bolt", "filters has no meaning for protocol bolt"),
        ("picky", "http1", "picky does not look at requests; write it at the listener"),
    ],
)
def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch, routed: str, protocol: str, problem: str) -> None:
    class Picky(Filter):
        def accepted(self, client: Client, now: float) -> None:
            return None

    monkeypatch.setitem(FILTERS, "picky", Picky)
    with pytest.raises(InvalidConfig) as caught:
        loads(text(routed, "", protocol).replace("{headers: {x-to: a}}", "{}" if protocol == "bolt" else "{path: /}"))
    assert problem in str(caught.value)


def test_filter_that_cannot_be_made_refuses_a_reload_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(Filter):
        made = 0

        def __init__(self, config: Any) -> None:
            Once.made += 1
            if Once.made > 1:  # the check of the file went well
                raise RuntimeError("only once")

    monkeypatch.setitem(FILTERS, "once", type("Once", (Once,), {"request": Named.request}))
    world = World(loads(text("")).config)
    before = world.proxy.listeners["web"].config
    with pytest.raises(ConfigError, match="the filter once cannot be made: RuntimeError"):
        reload(world, text("once"))
    assert world.proxy.listeners["web"].config == before
    client, server = ask(world, get())
    server.send(OK)
    assert status(client) == 200
