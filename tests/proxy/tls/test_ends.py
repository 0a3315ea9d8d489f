"""How encrypted connections end: nothing that was sealed is lost, and nothing looks whole that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.model import FilterConfig
from tests.kit import bolt
from tests.proxy.bolt.scene import V1
from tests.proxy.tls.far import Far, server_context
from tests.proxy.tls.scene import Scene
from tests.proxy.tls.updating import SUITES, updating_server
from tests.proxy.tls.wire import Wire

if TYPE_CHECKING:
    from tests.kit.certificates import Authority
    from tests.proxy.tls.scene import Build

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = bytes(range(250)) * 120
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def slow_client(play: Scene) -> Far:
    """It asked, and took little of the answer, all of which is sealed."""
    client = play.client()
    client.send(GET)
    client.take()
    client.socket.accept_bytes(100)
    play.server().send(ANSWER)
    return client


def test_an_answer_that_waits_for_a_slow_client_is_whole_though_that_says_goodbye(scene: Build) -> None:
    play = scene(protocol="http1")
    client = slow_client(play)
    client.goodbye()
    client.socket.accept_bytes(None)
    assert client.take().endswith(BODY)
    assert client.ended
    assert client.socket.ended


def test_an_answer_that_waits_for_a_slow_client_outlives_a_drain(scene: Build) -> None:
    play = scene(protocol="http1")
    client = slow_client(play)
    play.world.moving = False
    play.world.proxy.drain(play.world.kernel.clock() + 30)
    client.socket.accept_bytes(None)
    assert client.take().endswith(BODY)
    assert client.ended


def test_a_stream_of_which_the_rest_waits_at_the_end_of_a_drain_is_reset(scene: Build) -> None:
    play = scene(protocol="http1")
    client = slow_client(play)
    play.world.moving = False
    play.world.proxy.drain(play.world.kernel.clock() + 30)
    play.world.wait(31)
    assert client.socket.reset


def test_a_oneway_call_that_waits_for_a_slow_server_outlives_a_drain(scene: Build) -> None:
    play = scene(protocol="bolt", downstream=False, upstream=True)
    client = play.socket()
    client.send(bolt.encode(V1, bolt.ONEWAY, bolt.CALL, 1, content=b"first"))
    server = play.secure_server()
    assert [frame.content for frame in frames(server)] == [b"first"]
    server.socket.accept_bytes(10)
    client.send(bolt.encode(V1, bolt.ONEWAY, bolt.CALL, 2, content=b"second"))
    play.world.moving = False
    play.world.proxy.drain(play.world.kernel.clock() + 30)
    server.socket.accept_bytes(None)
    assert [frame.content for frame in frames(server)] == [b"second"]
    assert server.ended
    assert play.world.proxy.idle()


def frames(server: Far) -> list[bolt.Frame]:
    reader = bolt.FrameReader()
    return reader.feed(server.take())


def test_a_copy_that_waits_for_a_slow_mirror_is_whole(scene: Build) -> None:
    mirror = FilterConfig(name="mirror", config={"cluster": "other"})
    play = scene(protocol="http1", downstream=False, upstream=True, listener={"filters": (mirror,)})
    client = play.socket()
    client.send(GET)
    dials = {one.address.port: one for one in play.world.dials if one.address is not None}
    play.world.dials.clear()
    for dial in dials.values():
        dial.accept()
    server, copy = (Far(dials[port], server_context(play.pair, play.version), server=True) for port in (9000, 9500))
    server.handshake().take()
    if play.version == "1.2":
        copy.step()
    copy.socket.accept_bytes(100)  # the Finished of TLS 1.3, and a part of the request in both
    copy.step()
    server.send(ANSWER)
    play.world.moving = False
    play.world.proxy.drain(play.world.kernel.clock() + 30)
    copy.socket.accept_bytes(None)
    assert copy.handshake().take().startswith(GET[:-2])
    copy.socket.fin()
    cluster = play.world.proxy.clusters["other"]
    assert (cluster.meters.mirrored.value, cluster.meters.dropped.value) == (1, 0)


def test_keys_of_an_endpoint_change_though_its_client_was_cut_off(authority: Authority, moving: bool) -> None:
    """Behind our FIN there is no room for an answer, and what the endpoint has to say still counts."""
    play = Scene(authority, moving=moving, upstream=True)
    client = play.client()
    socket = play.server()
    server = updating_server(Wire(socket), play.pair, SUITES["1.3"][0])
    while not server.step():
        pass
    client.socket.fin()
    assert socket.ended
    server.update(ask=True)
    server.send(b"answer")
    assert client.take() == b"answer"
    assert not client.socket.ended


def test_connections_that_are_broken_off_fill_no_log(scene: Build, caplog: pytest.LogCaptureFixture) -> None:
    play = scene()
    play.world.moving = False
    with caplog.at_level("INFO"):
        for _ in range(5):
            client = play.client()
            play.server()
            client.push(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert client.socket.ended
    told = [record for record in caplog.records if record.message == "an encrypted connection broke"]
    assert len(told) == 1
    assert play.world.proxy.listeners["web"].handshakes.describe()["broken"] == 5
