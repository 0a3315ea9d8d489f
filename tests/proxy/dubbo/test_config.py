"""Every key that is only for Dubbo makes the difference that docs/config.md promises, and its mistakes are told."""

from __future__ import annotations

import pytest

from hotswap.errors import ConfigError
from proxy.config.loader import loads
from tests.kit import dubbo
from tests.proxy.simulation import World


def rpc(listener: str = "cluster: app", cluster: str = "", *, moving: bool) -> World:
    """A Dubbo listener `rpc`, the clusters `app` and `other`."""
    return World(
        loads(
            f"""\
name: edge
listeners:
  - {{name: rpc, address: 127.0.0.1:80, protocol: dubbo, {listener}}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000]{cluster}}}
  - {{name: other, endpoints: [127.0.0.1:9001]}}
"""
        ).config,
        moving=moving,
    )


@pytest.mark.parametrize(
    ("key", "there", "elsewhere"),
    [
        ("interface: com.acme.*", {"interface": "com.acme.Orders"}, {"interface": "com.other"}),
        ("method: get?", {"method": "getA"}, {"method": "getAB"}),
        ("version: 1.0.0", {"version": "1.0.0"}, {"version": "1.0.1"}),
        ("group: blue*", {"attached": {"group": "blue-2"}}, {}),
        ("headers: {X-Lane: b}", {"attached": {"x-lane": "b"}}, {"attached": {"x-lane": "c"}}),
    ],
)
def test_conditions_take_calls_by_patterns(
    moving: bool, key: str, there: dict[str, str], elsewhere: dict[str, str]
) -> None:
    world = rpc(f"routes: [{{match: {{{key}}}, cluster: app}}, {{cluster: other}}]", moving=moving)
    world.connect("rpc").send(dubbo.call(1, b"", **there))  # type: ignore[arg-type]
    assert str(world.dialled().address) == "127.0.0.1:9000"
    world.connect("rpc").send(dubbo.call(1, b"", **elsewhere))  # type: ignore[arg-type]
    assert str(world.dialled().address) == "127.0.0.1:9001"


def test_max_frame_is_the_limit_of_a_call(moving: bool) -> None:
    world = rpc("cluster: app, max_frame: 128KB", moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, bytes(128 * 1024)))
    assert client.take() == dubbo.encode(0, 40, 1, dubbo.text("the request is too long or cannot be read"))


def test_request_timeout_is_the_time_of_a_call(moving: bool) -> None:
    world = rpc("cluster: app", cluster=", request_timeout: 2s", moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(-3, b""))
    world.dialled().accept()
    world.wait(1.9)
    assert client.take() == b""
    world.wait(0.2)
    assert client.take() == dubbo.encode(0, 31, -3, dubbo.text("no answer in time"))


@pytest.mark.parametrize("limit", [1, 3])
def test_shared_connections_is_how_many_all_calls_share(moving: bool, limit: int) -> None:
    world = rpc(cluster=f", shared_connections: {limit}", moving=moving)
    dialled = 0
    for number in range(8):
        world.connect("rpc").send(dubbo.call(number, b""))
        while world.dials:
            world.dialled().accept()
            dialled += 1
    assert dialled == limit


def test_heartbeat_interval_is_the_longest_silence_of_a_shared_connection(moving: bool) -> None:
    world = rpc(cluster=", heartbeat_interval: 5s", moving=moving)
    world.connect("rpc").send(dubbo.call(1, b"", oneway=True))
    server = world.dialled()
    server.accept()
    server.take()
    world.wait(4.9)
    assert server.take() == b""
    world.wait(0.2)
    assert server.take() == dubbo.heartbeat(2)


def test_health_check_is_a_heartbeat(moving: bool) -> None:
    world = rpc(cluster=", health_check: {check: dubbo, interval: 1s, unhealthy: 1}", moving=moving)
    world.wait(1.1)
    good = world.dialled()
    good.accept()
    assert good.take() == dubbo.heartbeat(1)
    good.send(dubbo.heartbeat_answer(1))
    world.wait(1.1)
    bad = world.dialled()
    bad.accept()
    bad.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    (endpoint,) = world.proxy.clusters["app"].endpoints
    health = endpoint.describe(world.kernel.clock())["health"]
    assert "it does not speak dubbo" in str(health)


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ("routes: [{match: {service: a}, cluster: app}]", "service"),
        ("routes: [{match: {group: 'a b'}, cluster: app}]", "a name, or a pattern such as get"),
        ("cluster: app, max_body: 1MB", "max_body"),
        ("cluster: app, original_dst: tproxy, access_log: {to: /log, template: '{nothing}'}", "nothing"),
    ],
)
def test_mistakes_are_told(listener: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rpc(listener, moving=False)


@pytest.mark.parametrize(
    ("first", "second", "covered"),
    [
        ("interface: a.*", "group: b", False),
        ("interface: a.*", "interface: a.*, method: c", True),
        ("version: '*'", "group: b", True),
        ("group: b", "group: c", False),
        ("method: c, group: b", "method: c", False),
    ],
)
def test_a_route_that_is_never_reached_is_a_warning(first: str, second: str, covered: bool) -> None:
    text = f"""\
name: edge
listeners:
  - name: rpc
    address: 127.0.0.1:80
    protocol: dubbo
    routes: [{{match: {{{first}}}, cluster: app}}, {{match: {{{second}}}, cluster: app}}]
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000]}}
"""
    assert any("never reached" in str(one) for one in loads(text).warnings) == covered


@pytest.mark.parametrize("key", ["interface", "method", "version", "group"])
def test_conditions_of_dubbo_fit_no_other_protocol(key: str) -> None:
    text = f"""\
name: edge
listeners:
  - {{name: rpc, address: 127.0.0.1:80, protocol: bolt, routes: [{{match: {{{key}: a}}, cluster: app}}]}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000]}}
"""
    with pytest.raises(ConfigError, match=key):
        loads(text)
