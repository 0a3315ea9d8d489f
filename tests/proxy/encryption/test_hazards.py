"""What may go wrong on the way: ends at bad moments, changed minds, limits, full pools, endpoints that are gone."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.loader import loads
from tests.kit import bolt
from tests.proxy.encryption.scene import GET, STEP, TLS_HANDSHAKE, V1, Server
from tests.proxy.encryption.test_bolt import four_in_use
from tests.proxy.metrics.scene import Counted, apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.endpoint import Endpoint
    from tests.kit.certificates import Authority
    from tests.proxy.encryption.scene import Changing

    Build = Callable[..., Changing]

GOAWAY = bolt.encode(V1, bolt.REQUEST, 100, 99)
FIRST, SECOND = "127.0.0.1:9000", "127.0.0.1:9001"


def endpoint(scene: Changing) -> Endpoint:
    return scene.world.proxy.clusters["app"].endpoints[0]


# ---- bolt ----


def test_successor_that_is_sent_away_before_it_serves_gets_no_call(changing: Build) -> None:
    scene = changing()
    client, plain = scene.quiet_rpc()
    scene.order("on")
    successor = scene.accepted()
    (beat,) = successor.frames()
    successor.send(GOAWAY + bolt.heartbeat_answer(V1, beat.id))
    assert not successor.open
    scene.call(client, plain)
    scene.world.wait(1.1)
    scene.accepted().beat()
    assert scene.about["settled"]


def test_changed_mind_leaves_no_connection_over(changing: Build) -> None:
    scene = changing()
    scene.rpc()
    for _ in range(5):
        scene.order("on")
        socket = scene.world.dialled()
        scene.order("off")
        socket.accept()
        Server(socket, None).beat()
    assert scene.counts == (1, 0)


def test_successor_stays_if_what_it_was_to_replace_is_gone(changing: Build) -> None:
    scene = changing()
    client, plain = scene.quiet_rpc()
    scene.order("on")
    secure = scene.accepted()
    plain.fin()
    secure.beat()
    scene.call(client, secure)
    assert scene.counts == (0, 1)


def test_successor_that_came_out_in_plaintext_replaces_none(changing: Build) -> None:
    """The TLS of the one dialled with it failed meanwhile."""
    scene = changing(shared=2)
    client = scene.world.connect("rpc")
    for number in (1, 2):
        client.send(bolt.call(V1, number, b"first"))
        scene.accepted()
    scene.order("on")
    for number in (3, 4):
        client.send(bolt.call(V1, number, b"more"))
    sockets = [scene.world.dialled() for _ in range(len(scene.world.dials))]
    sockets[0].accept()
    sockets[0].take()
    sockets[0].fin()
    for socket in sockets[1:]:
        socket.accept()
        assert socket.outbox[:1] != bytes((TLS_HANDSHAKE,))
        Server(socket, None).beat()
    assert scene.counts == (2, 0)
    assert scene.about["endpoints"][0]["failures"] == 1, "the pause is not forgotten"


def test_share_is_reached_without_connections_over(changing: Build) -> None:
    scene = changing(shared=4)
    four_in_use(scene)
    scene.order("on", 25)
    client = scene.world.connect("rpc")
    for number in range(20, 28):
        client.send(bolt.call(V1, number, b"more"))
    while scene.world.dials:
        scene.accepted().beat()
    scene.world.wait(STEP)
    assert scene.counts == (3, 1)


def test_lost_share_is_made_up_for_at_another_endpoint(changing: Build) -> None:
    scene = changing(endpoints=f"{FIRST}, {SECOND}", encryption="{wanted: on, percent: 50}")
    client = scene.world.connect("rpc")
    servers = []
    for number in (1, 2):
        client.send(bolt.call(V1, number, b"first"))
        servers.append(scene.accepted())
    (secure,) = [server for server in servers if server.secure]
    secure.fin()
    scene.world.wait(STEP)
    assert scene.world.dials


def test_limit_of_connections_does_not_keep_them_in_plaintext(changing: Build) -> None:
    scene = changing(cluster=", limits: {max_connections: 1}")
    client, _ = scene.quiet_rpc()
    scene.order("on")
    secure = scene.accepted()
    secure.beat()
    scene.call(client, secure)
    assert scene.counts == (0, 1)


def test_handshake_that_moved_late_gets_its_time(changing: Build) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 7, b"first"))
    scene.world.dialled().accept()
    scene.world.time += 1.2
    scene.world.move()
    scene.world.settle()
    assert client.take() == b""
    assert scene.world.dialled().closed, "dialled anew for the handshake, too late"
    (frame,) = scene.accepted().frames()
    assert frame.content == b"first"


def test_dial_that_is_refused_after_a_move_says_nothing_of_tls(changing: Build) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 7, b"first"))
    scene.world.dialled().accept()
    scene.world.move()
    scene.world.settle()
    scene.world.dialled().refuse()
    assert scene.world.dials == []
    assert "failures" not in scene.about["endpoints"][0]
    assert client.take()


# ---- http1 ----


def test_full_pool_changes_over(changing: Build) -> None:
    scene = changing(cluster=", max_idle: 1")
    _, plain = scene.web()
    scene.order("on")
    scene.succeed()
    scene.world.wait(STEP)
    assert scene.world.dials == []
    assert scene.counts == (0, 1)
    assert not plain.open


def test_successor_is_no_request_under_way(changing: Build) -> None:
    scene = changing(cluster=", limits: {max_requests: 1}")
    client, _ = scene.web()
    scene.order("on")
    secure = scene.accepted()
    scene.world.move()
    scene.world.settle()
    scene.world.wait(0.5)
    assert endpoint(scene).in_flight == 0
    scene.ask(client, secure)
    assert endpoint(scene).in_flight == 0


def test_successors_count_as_connections(changing: Build) -> None:
    scene = changing(cluster=", limits: {max_connections: 4}")
    scene.crowd(3)
    scene.order("on")
    clients = [scene.world.connect("web") for _ in range(3)]
    for client in clients:
        client.send(GET)
    assert len(scene.world.dials) == 1


def test_burst_of_dials_keeps_to_the_share(changing: Build) -> None:
    scene = changing(encryption="{wanted: on, percent: 10}")
    for _ in range(10):
        scene.world.connect("web").send(GET)
    sockets = [scene.world.dialled() for _ in range(10)]
    for socket in sockets:
        socket.accept()
    assert sum(socket.outbox[:1] == bytes((TLS_HANDSHAKE,)) for socket in sockets) == 1


def test_strict_cluster_with_a_share_gives_up_no_plaintext_before_its_successor(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, strict: true}")
    _, servers = scene.crowd(10)
    scene.order("on", 10)
    assert all(server.open for server in servers)
    scene.succeed()
    assert sum(server.open for server in servers) == 9


def test_connection_that_ends_otherwise_takes_no_other_with_it(changing: Build) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    client.send(GET)
    scene.succeed()
    plain.take()
    plain.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert client.take().endswith(b"ok")
    assert endpoint(scene).mix.owed == 0


def test_plaintext_successor_that_fails_says_nothing_of_tls(changing: Build) -> None:
    scene = changing(encryption="on")
    scene.web()
    scene.order("off")
    scene.world.dialled().refuse()
    assert "failures" not in scene.about["endpoints"][0]
    scene.world.wait(1.1)
    assert scene.world.dials


# ---- endpoints ----


def test_nobody_dials_an_endpoint_that_is_gone(changing: Build) -> None:
    scene = changing(endpoints=FIRST)
    _, plain = scene.web()
    scene.world.move(scene.configured(endpoints=SECOND, encryption="on"))
    for _ in range(8):
        scene.world.wait(STEP)
    assert scene.world.dials == []
    assert not plain.open


def test_successor_goes_with_its_endpoint(changing: Build) -> None:
    scene = changing()
    _, plain = scene.quiet_rpc()
    scene.order("on")
    successor = scene.accepted()
    apply(scene.world, scene.configured(endpoints=SECOND))
    scene.world.settle()
    assert not successor.open
    assert not plain.open


def mirrored(authority: Authority) -> Counted:
    """Requests are copied to the cluster "shadow", which wants TLS."""
    return Counted(
        loads(f"""\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:80
    protocol: http1
    cluster: app
    filters: [{{name: mirror, config: {{cluster: shadow}}}}]
clusters:
  - {{name: app, endpoints: ["{FIRST}"]}}
  - name: shadow
    connect_timeout: 1s
    endpoints: ["{SECOND}"]
    tls: {{ca: {authority.file}}}
    encryption: on
    outlier: {{connect_failures: 1, max_ejected: 100}}
""").config
    )


def test_mirror_without_tls_is_served_in_plaintext(authority: Authority) -> None:
    world = mirrored(authority)
    world.connect("web").send(GET)
    for socket in world.dials:
        socket.accept()
    world.dials.clear()
    world.wait(1.1)
    again = world.dialled()
    again.accept()
    assert again.take().startswith(b"GET ")
    assert world.only("connect_failures") == {}


def test_client_that_goes_says_nothing_of_the_mirrors_tls(authority: Authority) -> None:
    world = mirrored(authority)
    client = world.connect("web")
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
    for socket in world.dials:
        socket.accept()
    world.dials.clear()
    client.fin()
    world.wait(0.1)
    assert world.dials == []
    assert world.only("encryption") == {}


def test_end_by_tls_waits_for_the_peer_and_not_for_ever(changing: Build) -> None:
    scene = changing(encryption="on", cluster=", keepalive_timeout: 10s")
    _, secure = scene.web()
    scene.world.wait(10.1)
    assert secure.socket.ended
    assert not secure.socket.closed
    scene.world.wait(2.1)
    assert secure.socket.closed
    kinds = {one.kind for one in scene.world.proxy.values().values()}
    assert kinds == {"http1.downstream"}


# ---- another configuration ----


def test_reload_changes_over_as_an_order_does(changing: Build) -> None:
    scene = changing(tls=False, encryption="")
    client, plain = scene.web()
    apply(scene.world, scene.configured(tls=True, encryption="on"))
    scene.world.settle()
    secure = scene.succeed()
    assert not plain.open
    scene.ask(client, secure)
    apply(scene.world, scene.configured(tls=False, encryption=""))
    scene.world.settle()
    again = scene.succeed()
    assert not secure.open
    assert not secure.socket.reset
    scene.ask(client, again)
    assert scene.retired == {"own": 2}


def test_order_holds_until_the_configuration_wants_something_new(changing: Build) -> None:
    scene = changing()
    client, _ = scene.web()
    scene.order("on")
    secure = scene.succeed()
    apply(scene.world, scene.configured(cluster=", request_timeout: 7s"))
    scene.world.wait(STEP)
    scene.ask(client, secure)
    apply(scene.world, scene.configured(encryption="{wanted: off, percent: 50}"))
    scene.world.wait(STEP)
    plain = scene.succeed()
    assert not plain.secure
    scene.ask(client, plain)
