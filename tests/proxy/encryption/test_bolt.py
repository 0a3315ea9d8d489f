"""Shared connections of bolt that change over: calls finish with heartbeats, then silence, and the server closes."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit import bolt
from tests.proxy.encryption.scene import STEP, V1

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proxy.encryption.scene import Changing, Server

    Build = Callable[..., Changing]

BEAT = "heartbeat_interval: 1s"
V2 = bolt.DIALECTS[1]


def four_in_use(scene: Changing) -> None:
    """All shared connections are there, since each of those before has a call under way."""
    client = scene.world.connect("rpc")
    for number in range(7):
        client.send(bolt.call(V1, number, b"first"))
        while scene.world.dials:
            scene.accepted()
    assert scene.counts == (4, 0)


def changed(scene: Changing) -> Server:
    """TLS was ordered, and the successor has proven itself."""
    scene.order("on")
    successor = scene.accepted()
    assert successor.secure
    successor.beat()
    return successor


def test_successor_proves_itself_by_a_heartbeat_before_it_gets_calls(changing: Build) -> None:
    scene = changing()
    client, plain = scene.quiet_rpc()
    scene.order("on")
    secure = scene.accepted()
    scene.call(client, plain)
    secure.beat()
    scene.call(client, secure, 9)
    assert plain.open
    assert plain.take() == b""
    assert scene.about["settled"]


def test_calls_under_way_finish_on_the_old_connection_and_heartbeats_go_on_until_then(changing: Build) -> None:
    scene = changing(cluster=f", {BEAT}")
    client, plain, frame = scene.rpc()
    changed(scene)
    scene.world.wait(1.1)
    plain.beat()
    scene.world.wait(1.1)
    plain.beat()
    scene.answered(client, plain, frame)
    assert plain.open


def test_silence_begins_with_the_last_answer_and_the_server_closes(changing: Build) -> None:
    scene = changing(cluster=f", {BEAT}")
    client, plain, frame = scene.rpc()
    secure = changed(scene)
    scene.answered(client, plain, frame)
    for _ in range(20):
        scene.world.wait(1.1)
        secure.beat()
    assert plain.take() == b""
    assert plain.open
    plain.fin()
    assert not plain.socket.reset
    assert plain.socket.closed
    assert scene.retired == {"peer": 1}
    scene.call(client, secure)


def test_heartbeats_of_the_server_are_answered_all_the_time(changing: Build) -> None:
    scene = changing()
    client, plain, frame = scene.rpc()
    changed(scene)
    scene.answered(client, plain, frame)
    plain.send(bolt.heartbeat(V1, 77))
    (answer,) = plain.frames()
    assert (answer.type, answer.command, answer.id) == (bolt.RESPONSE, bolt.HEARTBEAT, 77)


def test_what_no_server_closes_we_close_after_the_deadline(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, retire_timeout: 10s}")
    client, plain, frame = scene.rpc()
    secure = changed(scene)
    scene.answered(client, plain, frame)
    scene.world.wait(9.0)
    assert plain.open
    scene.world.wait(1.1)
    assert not plain.open
    assert not plain.socket.reset
    assert scene.retired == {"deadline": 1}
    secure.take()
    scene.call(client, secure)


def test_deadline_cuts_nothing_that_is_under_way(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, retire_timeout: 2s}", cluster=", request_timeout: 60s")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 7, b"slow", timeout=60_000))
    plain = scene.accepted()
    (frame,) = plain.frames()
    changed(scene)
    scene.world.wait(10.0)
    assert plain.open
    scene.answered(client, plain, frame)
    assert not plain.open
    assert scene.retired == {"deadline": 1}


def test_deadline_waits_for_a_request_of_the_server(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, retire_timeout: 2s}")
    client, plain, frame = scene.rpc()
    plain.send(bolt.call(V1, 5, b"from the server", timeout=60_000))
    changed(scene)
    answers = [one for one in bolt.FrameReader().feed(client.take()) if one.command == bolt.CALL]
    plain.send(bolt.answer(V1, frame.id, b"fine"))
    scene.world.wait(5.0)
    assert plain.open
    client.send(bolt.answer(V1, answers[0].id, b"ours"))
    assert [one.id for one in plain.frames() if one.command == bolt.ANSWER] == [5]
    scene.world.wait(2.0)
    assert not plain.open


def test_end_with_calls_under_way_is_no_retirement(changing: Build) -> None:
    scene = changing()
    client, plain, _ = scene.rpc()
    changed(scene)
    plain.fin()
    (error,) = bolt.FrameReader().feed(client.take())
    assert error.id == 7
    assert error.timeout != 0
    assert scene.retired == {"cut": 1}


def test_successor_that_does_not_answer_is_none(changing: Build) -> None:
    scene = changing()
    client, plain, frame = scene.rpc()
    scene.order("on")
    mute = scene.accepted()
    scene.world.wait(1.1)
    assert not mute.open
    assert scene.about["endpoints"][0]["failures"] == 1
    scene.answered(client, plain, frame)
    scene.world.wait(1.1)
    scene.accepted().beat()
    assert scene.about["settled"]


def test_server_without_tls_keeps_its_plaintext(changing: Build) -> None:
    scene = changing()
    client, plain, frame = scene.rpc()
    scene.order("on")
    scene.spoiled()
    scene.answered(client, plain, frame)
    scene.call(client, plain)
    assert plain.open


def test_calls_that_waited_for_tls_go_in_plaintext_where_there_is_none(changing: Build) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 7, b"first"))
    scene.spoiled()
    plain = scene.accepted()
    (frame,) = plain.frames()
    scene.answered(client, plain, frame)


def test_calls_of_a_strict_cluster_fail_where_there_is_no_tls(changing: Build) -> None:
    scene = changing(encryption="{wanted: on, strict: true}")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 7, b"first"))
    scene.spoiled()
    (error,) = bolt.FrameReader().feed(client.take())
    assert (error.id, error.timeout != 0) == (7, True)
    assert scene.world.dials == []


def test_strict_cluster_gives_no_further_call_to_plaintext(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, strict: true}")
    client, plain, frame = scene.rpc()
    scene.order("on")
    client.send(bolt.call(V1, 8, b"secret"))
    assert plain.take() == b""
    secure = scene.accepted()
    (under_tls,) = secure.frames()
    secure.send(bolt.answer(V1, under_tls.id, b"fine"))
    answers = bolt.FrameReader().feed(client.take())
    assert [one.id for one in answers] == [8]
    scene.answered(client, plain, frame)


def test_versions_are_replaced_each_by_its_own(changing: Build) -> None:
    scene = changing()
    client, first, frame = scene.rpc()
    client.send(bolt.call(V2, 9, b"second"))
    second = scene.accepted()
    (other,) = second.frames()
    scene.order("on")
    for _ in range(2):
        scene.accepted().beat()
    assert scene.world.dials == []
    assert scene.counts == (0, 2)
    first.send(bolt.answer(V1, frame.id, b"fine"))
    second.send(bolt.answer(V2, other.id, b"fine"))
    assert sorted(one.id for one in bolt.FrameReader().feed(client.take())) == [7, 9]


def test_change_leaves_no_more_connections_than_may_be_shared(changing: Build) -> None:
    scene = changing()
    clients = [scene.world.connect("rpc") for _ in range(2)]
    for client, dialect in zip(clients, (V1, V2), strict=True):
        client.send(bolt.call(dialect, 7, b"first"))
        scene.accepted()
    scene.order("on")
    for number in (8, 9, 10):  # of one version alone, a pick each
        clients[0].send(bolt.call(V1, number, b"more"))
    successors = []
    while scene.world.dials:
        successors.append(scene.accepted())
    for one in successors:
        one.beat()
    while scene.world.dials:
        scene.accepted().beat()
    assert scene.counts == (0, 2)


def test_way_back_before_the_change_is_over(changing: Build) -> None:
    scene = changing()
    client, plain, frame = scene.rpc()
    secure = changed(scene)
    scene.order("off")
    again = scene.accepted()
    assert not again.secure
    again.beat()
    scene.answered(client, plain, frame)
    scene.call(client, again)
    plain.fin()
    secure.fin()
    assert scene.retired == {"peer": 2}
    assert scene.about["settled"]


@pytest.mark.parametrize(("percent", "secured"), [(25, 1), (50, 2), (100, 4)])
def test_share_of_the_connections(changing: Build, percent: int, secured: int) -> None:
    scene = changing(shared=4)
    four_in_use(scene)
    scene.order("on", percent)
    for _ in range(secured):
        scene.accepted().beat()
    scene.world.wait(STEP)
    assert scene.world.dials == []
    assert scene.counts == (4 - secured, secured)
    scene.order("on", 0)
    for _ in range(secured):
        scene.accepted().beat()
    assert scene.counts == (4, 0)


def test_share_grows_within_the_ramp(changing: Build) -> None:
    scene = changing(shared=4)
    four_in_use(scene)
    scene.order("on", ramp=100.0)
    for expected in (1, 2, 3, 4):
        scene.world.wait(25.0)
        while scene.world.dials:
            scene.accepted().beat()
        assert scene.counts == (4 - expected, expected)


def test_each_endpoint_is_followed_as_it_announces(changing: Build) -> None:
    first, second = "127.0.0.1:9000", "127.0.0.1:9001"
    scene = changing(endpoints=f"{first}, {second}", encryption="follow")
    client = scene.world.connect("rpc")
    servers = []
    for number in (1, 2):
        client.send(bolt.call(V1, number, b"first"))
        servers.append(scene.accepted())
    assert [server.secure for server in servers] == [False, False]
    scene.announce(first, "tls")
    secure = scene.accepted()
    secure.beat()
    assert str(secure.socket.address) == first
    scene.world.wait(STEP)
    assert scene.world.dials == []
    scene.announce(second, "tls")
    scene.accepted().beat()
    assert scene.counts == (0, 2)
    scene.announce(first, "configured")
    plain = scene.accepted()
    assert (str(plain.socket.address), plain.secure) == (first, False)
