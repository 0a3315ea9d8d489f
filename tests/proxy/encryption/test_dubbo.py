"""Shared connections of Dubbo that change over as those of bolt do: with heartbeats, then silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kit import dubbo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proxy.encryption.scene import Changing, Server

    Build = Callable[..., Changing]

BEAT = "heartbeat_interval: 1s"


def frames(server: Server) -> list[dubbo.Frame]:
    return dubbo.FrameReader().feed(server.take())


def beat(server: Server) -> None:
    """Answer the one heartbeat that came, and nothing else."""
    (frame,) = frames(server)
    assert frame.raw == dubbo.heartbeat(frame.id)
    server.send(dubbo.heartbeat_answer(frame.id))


def test_calls_finish_with_heartbeats_on_the_old_connection_and_the_server_closes_it(changing: Build) -> None:
    scene = changing(cluster=f", {BEAT}", rpc="dubbo")
    client = scene.world.connect("rpc")
    client.send(dubbo.call(-1, b"first"))
    plain = scene.accepted()
    (first,) = frames(plain)
    scene.order("on")
    secure = scene.accepted()
    assert secure.secure
    client.send(dubbo.call(0, b"before the proof"))
    (before,) = frames(plain)
    beat(secure)
    client.send(dubbo.call(-1 - (1 << 40), b"second"))
    (second,) = frames(secure)
    for _ in range(3):
        scene.world.wait(1.1)
        beat(plain)
        beat(secure)
    plain.send(dubbo.answer(before.id, b"0") + dubbo.answer(first.id, b"-1"))
    secure.send(dubbo.answer(second.id, b"1"))
    answers = dubbo.FrameReader().feed(client.take())
    assert [one.id for one in answers] == [0, -1, -1 - (1 << 40)]
    for _ in range(5):
        scene.world.wait(1.1)
        beat(secure)
    assert plain.take() == b""
    plain.fin()
    assert plain.socket.closed
    assert scene.retired == {"peer": 1}


def test_what_left_behind_a_handshake_that_was_refused_goes_again_in_plaintext(changing: Build) -> None:
    scene = changing(encryption="{wanted: on, retry: 1h}", rpc="dubbo")
    client = scene.world.connect("rpc")
    client.send(dubbo.call(5, b"first"))
    scene.spoiled()
    plain = scene.accepted()
    (first,) = frames(plain)
    plain.send(dubbo.answer(first.id, b"fine"))
    assert client.take() == dubbo.answer(5, b"fine")
