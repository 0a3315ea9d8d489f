"""A changed configuration under live connections: playbooks, each also with a handover after every step."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import errno

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotswap.address import Address
from hotswap.errors import ConfigError, Refused
from hotswap.handover.rounds import Limits
from hotswap.reload import Reloadable
from proxy.config.loader import loads
from proxy.config.model import Config
from proxy.server import ProxyServer
from tests.proxy.simulation import Socket, World

BASE = """\
name: edge
listeners:
  - {name: web, address: 127.0.0.1:8080, protocol: http1, cluster: app}
  - {name: raw, address: 127.0.0.1:9090, protocol: tcp, cluster: db}
clusters:
  - {name: app, endpoints: [127.0.0.1:9000, 127.0.0.1:9001]}
  - {name: db, endpoints: [127.0.0.1:9100]}
upgrade: {drain_timeout: 60s}
"""
WEB, RAW = BASE.splitlines(keepends=True)[2:4]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class File:
    """Where the configuration comes from."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self) -> Config:
        return loads(self.text).config

    def limits(self, config: Config) -> Limits:
        return Limits(drain=config.drain_timeout)


@pytest.fixture(params=[False, True], ids=["straight", "moving"])
def world(request: pytest.FixtureRequest) -> World:
    return World(loads(BASE).config, moving=request.param)


def reload(world: World, *changes: tuple[str, str]) -> list[str]:
    """What `hotswap.reload` does, without sockets. Returns the changes in words."""
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    proxy = world.proxy
    proxy._source = File(text)
    plan = proxy.reload()
    known = {listener.address for listener in proxy.listeners.values()}
    added = {
        spec.name: world.kernel.install(world.queues.setdefault(spec.address, []))
        for spec in plan.wanted
        if str(spec.address) not in known
    }
    plan.apply(added)
    world.config = loads(text).config
    assert proxy.config.id == plan.config_id
    world.settle()
    return [f"{change.what} {change.name} {change.how}" for change in plan.changes]


def relay(world: World, name: str = "raw") -> tuple[Socket, Socket]:
    client = world.connect(name)
    server = world.dialled()
    server.accept()
    return client, server


def exchange(world: World, client: Socket | None = None) -> tuple[Socket, Socket]:
    client = client or world.connect("web")
    client.send(GET)
    server = world.dialled()
    server.accept()
    return client, server


def both_ways(client: Socket, server: Socket) -> bool:
    client.send(b"question")
    server.send(b"answer")
    return server.take() == b"question" and client.take() == b"answer"


def test_the_same_configuration_changes_nothing(world: World) -> None:
    assert reload(world) == []


def test_the_server_is_one_that_can_reload() -> None:
    assert isinstance(ProxyServer(loads(BASE).config), Reloadable)


def test_an_added_listener_accepts_and_nobody_else_notices(world: World) -> None:
    pair = relay(world)
    more = RAW.replace("raw", "more").replace("9090", "9091")
    assert reload(world, (RAW, RAW + more)) == ["listener more added"]
    assert both_ways(*pair)
    assert both_ways(*relay(world, "more"))


def test_queue_of_a_removed_listener_is_served_out_and_its_connections_finish(world: World) -> None:
    client, server = relay(world)
    late = Socket(world, remote="192.0.2.9")
    world.queue("raw").append(late)
    fd = world.proxy.listeners["raw"].fd
    kernel = world.kernel
    reload(world, (RAW, ""))
    assert fd not in kernel.open or not world.moving
    assert [listener.name for listener in world.proxy.listeners.values()] == ["web"]
    other = world.dialled()
    other.accept()
    assert both_ways(client, server)
    assert both_ways(late, other)


def test_a_removed_http_listener_says_close_after_one_more_request(world: World) -> None:
    client, server = exchange(world)
    idle, other = exchange(world)
    other.send(OK)
    assert b"close" not in idle.take()
    reload(world, (WEB, ""))
    assert idle.ended
    server.send(OK)
    assert b"\r\nConnection: close\r\n" in client.take()
    assert client.ended


def test_connections_of_a_removed_listener_end_at_the_drain_timeout() -> None:
    world = World(loads(BASE).config)
    client, server = relay(world)
    reload(world, (RAW, ""))
    world.wait(59)
    assert both_ways(client, server)
    world.wait(2)
    assert client.closed
    assert server.closed
    assert world.proxy.reactor.acceptor.leaving == []


def test_a_listener_that_comes_back_is_a_new_one_beside_the_connections_of_the_old(world: World) -> None:
    pair = relay(world)
    reload(world, (RAW, ""))
    world.queues.pop(Address.parse("127.0.0.1:9090"), None)
    reload(world)
    assert both_ways(*pair)
    assert both_ways(*relay(world))


def test_settings_of_a_listener_hold_for_the_next_request_of_a_connection_that_is_there(world: World) -> None:
    client, server = exchange(world)
    server.send(OK)
    client.take()
    reload(world, ("protocol: http1, cluster: app", "protocol: http1, cluster: app, max_body: 5"))
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 413 ")


def test_routes_hold_for_the_next_request_and_the_one_under_way_finishes(world: World) -> None:
    client, server = exchange(world)
    changes = reload(world, ("protocol: http1, cluster: app", "protocol: http1, cluster: db"))
    assert changes == ["route web: every request changed"]
    server.send(OK)
    assert client.take().endswith(b"ok")
    client.send(GET)
    assert str(world.dialled().address) == "127.0.0.1:9100"


def test_a_listener_that_changes_its_protocol_lets_those_that_are_there_finish(world: World) -> None:
    client, server = relay(world)
    reload(world, (RAW, RAW.replace("tcp", "http1")))
    assert both_ways(client, server)
    other = world.connect("raw")
    other.send(GET)
    answering = world.dialled()
    answering.accept()
    answering.send(OK)
    assert other.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_names_may_be_swapped(world: World) -> None:
    pair = relay(world)
    web, raw = WEB.replace("name: web", "name: raw"), RAW.replace("name: raw", "name: web")
    reload(world, (WEB, web), (RAW, raw))
    assert both_ways(*pair)
    assert world.proxy.listeners["web"].connections == 1


def test_an_added_endpoint_gets_its_share_and_the_pools_of_the_others_stay(world: World) -> None:
    client, server = exchange(world)
    server.send(OK)
    client.take()
    reload(world, ("127.0.0.1:9001]", "127.0.0.1:9001, 127.0.0.1:9002]"))
    assert not server.closed
    ports = set()
    for _ in range(3):
        busy = world.connect("web")
        busy.send(GET)
        if world.dials:
            address = world.dialled().address
            assert address is not None
            ports.add(address.port)
    assert ports == {9001, 9002}, "9000 had an idle connection"


def test_streams_on_a_removed_endpoint_finish_and_what_is_idle_there_is_closed(world: World) -> None:
    client, server = exchange(world)
    assert str(server.address) == "127.0.0.1:9000"
    idle, other = exchange(world)
    third, again = exchange(world)
    assert str(again.address) == "127.0.0.1:9000"
    again.send(OK)
    other.send(OK)
    third.take()
    idle.take()
    reload(world, ("127.0.0.1:9000, ", ""))
    assert again.closed
    assert not other.closed
    server.send(OK)
    assert client.take().endswith(b"ok")
    assert server.closed, "nothing of it goes back to a pool"
    for one in (client, idle):
        one.send(GET)
    assert all(str(dial.address) == "127.0.0.1:9001" for dial in world.dials)


def test_streams_of_a_removed_cluster_finish(world: World) -> None:
    pair = relay(world)
    client, server = exchange(world)
    reload(world, (RAW, ""), ("  - {name: db, endpoints: [127.0.0.1:9100]}\n", ""))
    assert both_ways(*pair)
    server.send(OK)
    assert client.take().endswith(b"ok")


def test_counts_of_endpoints_go_on(world: World) -> None:
    relay(world)
    reload(world, ("[127.0.0.1:9100]", "[127.0.0.1:9100, 127.0.0.1:9101], balance: least_request"))
    world.connect("raw")
    assert str(world.dialled().address) == "127.0.0.1:9101"


def test_max_connections_counts_those_that_were_there(world: World) -> None:
    relay(world)
    reload(world, (RAW, RAW.replace("cluster: db", "cluster: db, max_connections: 1")))
    world.connect("raw")
    assert world.dials == []
    reload(world)
    assert world.dials


def test_a_broken_file_is_refused_whole(world: World) -> None:
    pair = relay(world)
    world.proxy._source = File(BASE.replace("cluster: app", "cluster: nope"))
    with pytest.raises(ConfigError, match="there is no cluster 'nope'"):
        world.proxy.reload()
    assert both_ways(*pair)


@pytest.mark.parametrize(("old", "new"), [("name: edge", "name: other"), ("name: edge", "name: edge\nruntime_dir: /x")])
def test_what_a_process_cannot_change_about_itself_is_refused(old: str, new: str) -> None:
    world = World(loads(BASE).config)
    world.proxy._source = File(BASE.replace(old, new, 1))
    with pytest.raises(Refused, match="takes a restart"):
        world.proxy.reload()


def test_who_may_take_over_is_not_changed_by_a_reload() -> None:
    world = World(loads(BASE).config)
    world.proxy._source = File(BASE.replace("drain_timeout: 60s", "drain_timeout: 60s, peer_uids: [1001]"))
    with pytest.raises(Refused, match="run hotswap upgrade edge"):
        world.proxy.reload()


def test_without_a_file_there_is_nothing_to_reload() -> None:
    with pytest.raises(Refused, match="not started from a file"):
        World(loads(BASE).config).proxy.reload()


def test_leaving_connections_stay_behind_in_a_handover_and_finish() -> None:
    world = World(loads(BASE).config)
    pair = relay(world)
    reload(world, (RAW, ""))
    source = world.proxy
    source.agree({}, {"127.0.0.1:8080"})
    assert set(source.staying().values()) == {"listener 'raw' (127.0.0.1:9090) is not in the new configuration"}
    world.move()
    assert both_ways(*pair)


def test_a_dial_under_way_on_a_removed_endpoint_goes_on(world: World) -> None:
    client = world.connect("raw")
    server = world.dialled()
    reload(world, ("[127.0.0.1:9100]", "[127.0.0.1:9101]"))
    server.refuse(errno.ECONNREFUSED)
    other = world.dialled()
    assert str(other.address) == "127.0.0.1:9101"
    other.accept()
    assert both_ways(client, other)


def test_status_follows(world: World) -> None:
    reload(world, ("name: raw", "name: data"), ("name: db", "name: store"), ("cluster: db", "cluster: store"))
    status = world.proxy.status()
    assert [one["name"] for one in status["listeners"]] == ["web", "data"]
    assert {one["name"] for one in status["clusters"]} == {"app", "store"}
    assert msgspec.json.encode(status)


VARIANTS = (
    (),
    ((RAW, RAW + RAW.replace("raw", "more").replace("9090", "9091")),),
    ((RAW, ""),),
    ((WEB, ""),),
    ((RAW, RAW.replace("tcp", "http1")),),
    ((WEB, WEB.replace("name: web", "name: other")),),
    (("127.0.0.1:9001]", "127.0.0.1:9002], balance: least_request"),),
    (("[127.0.0.1:9100]", "[127.0.0.1:9101], idle_timeout: 1h"),),
    (("cluster: app", "cluster: db"), ("- {name: app, endpoints: [127.0.0.1:9000, 127.0.0.1:9001]}", "")),
)

steps = st.lists(
    st.one_of(
        st.sampled_from(["connect", "ask", "answer", "talk", "end", "move", "wait"]), st.integers(0, len(VARIANTS) - 1)
    ),
    max_size=25,
)


@given(steps)
@settings(max_examples=50, deadline=None)
def test_whatever_is_reloaded_in_whatever_order_nothing_breaks(script: list[str | int]) -> None:
    """Relays go on, requests are answered, no layer raises; handovers in between change nothing."""
    world = World(loads(BASE).config)
    relays: list[tuple[Socket, Socket]] = []
    asked: list[tuple[Socket, Socket]] = []
    for step in script:
        names = {one.name: one.config.protocol for one in world.proxy.listeners.values()}
        if isinstance(step, int):
            reload(world, *VARIANTS[step])
        elif step == "connect" and names.get("raw") == "tcp":
            relays.append(relay(world))
        elif step == "ask" and "web" in names:
            asked.append(exchange_anew(world))
        elif step == "answer" and asked:
            client, server = asked.pop(0)
            server.send(OK)
            assert client.take().endswith(b"ok")
        elif step == "talk":
            assert all(both_ways(*pair) for pair in relays)
        elif step == "end" and relays:
            client, server = relays.pop(0)
            client.fin()
            server.fin()
            assert client.closed
            assert server.closed
        elif step == "move":
            world.move()
            world.settle()
        elif step == "wait":
            world.wait(1.5)
    assert all(both_ways(*pair) for pair in relays)
    for client, server in asked:
        server.send(OK)
        assert client.take().endswith(b"ok")


def exchange_anew(world: World) -> tuple[Socket, Socket]:
    """A request that waits for its answer, and the socket on which the upstream got it."""
    client = world.connect("web")
    client.send(GET)
    if world.dials:
        server = world.dialled()
        server.accept()
        return client, server
    downstream = max(one.serial for one in world.proxy.values().values() if one.kind == "http1.downstream")
    upstream = world.proxy.values()[downstream].peer  # it was idle
    return client, world.kernel.socket(upstream.fd)
