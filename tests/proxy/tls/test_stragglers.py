"""Handshakes that do not follow as they should: each ends well with somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from hotswap.handover.rounds import Limits
from proxy.reload import ProxyReload
from proxy.server import ProxyServer
from tests.kit import bolt
from tests.proxy.bolt.scene import V1
from tests.proxy.tls.far import Far
from tests.proxy.tls.scene import Scene

if TYPE_CHECKING:
    from tests.kit.certificates import Authority

PERMISSIVE = {"tls_mode": "permissive", "first_bytes_timeout": 2.0}


@pytest.fixture
def play(authority: Authority, version: str) -> Scene:
    return Scene(authority, version, tls={"handshake_timeout": 100.0})


def begun(play: Scene) -> Far:
    """A client whose handshake is under way."""
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    return client


def serves(play: Scene, client: Far) -> bool:
    """Bytes go both ways."""
    client.send(b"question")
    server = play.server()
    asked = server.take()
    server.send(b"answer")
    return (asked, client.take()) == (b"question", b"answer")


@pytest.mark.parametrize("done_before", [True, False])
def test_one_that_nobody_waits_for_any_more_is_served_where_it_is(play: Scene, done_before: bool) -> None:
    """The time for stragglers is over, or it could not be sent."""
    client = begun(play)
    source = play.world.move()
    play.world.stragglers.clear()
    if done_before:
        client.handshake()
    source.sharing(False)
    if not done_before:
        client.handshake()
    assert serves(play, client)
    assert [one.kind for one in source.values().values()] == ["tcp.downstream", "tcp.upstream"]


def test_one_that_arrives_while_its_next_owner_is_chosen_goes_there(
    play: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = play.world
    client = begun(play)
    world.move()
    send, save = world._send_stragglers, ProxyServer.save_shared
    monkeypatch.setattr(world, "_send_stragglers", lambda: None)
    client.handshake()

    def save_and_take(proxy: ProxyServer, now: float) -> bytes:
        state = save(proxy, now)
        send()
        assert len(proxy.values()) == 1, "it came to one that is frozen"
        return state

    monkeypatch.setattr(ProxyServer, "save_shared", save_and_take)
    middle = world.move()
    monkeypatch.undo()
    assert serves(play, client)
    assert middle.idle()
    assert not world.proxy.stragglers()


def test_a_generation_that_could_not_even_retire_serves_again(play: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = play.world.proxy
    play.client()
    proxy.freeze()
    monkeypatch.setattr(proxy, "staying", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        proxy.retire((), {})
    proxy.abandon()
    play.server()
    assert serves(play, play.client())


def test_a_call_that_comes_with_the_last_flight_is_served_by_one_that_drains(authority: Authority) -> None:
    play = Scene(authority, "1.3", protocol="bolt")
    client = begun(play)
    play.world.proxy.drain(play.world.kernel.clock() + 30)
    client._in.write(client.socket.take())
    client.tls.do_handshake()
    client.send(bolt.call(V1, 1, b"question"))
    server = play.server()
    (call,) = bolt.FrameReader().feed(server.take())
    server.send(bolt.answer(V1, call.id, b"answer"))
    (answer,) = bolt.FrameReader().feed(client.take())
    assert (answer.id, answer.content) == (1, b"answer")
    assert client.ended


def test_one_that_began_where_plaintext_was_allowed_is_held_to_what_is_required_by_now(
    authority: Authority, version: str
) -> None:
    play = Scene(authority, version, listener=PERMISSIVE)
    plain, secret = play.socket(), Far(play.socket(), play.context(), name="edge.test")
    listener = msgspec.structs.replace(play.config.listeners[0], tls_mode="required", first_bytes_timeout=None)
    config = msgspec.structs.replace(play.config, listeners=(listener,))
    ProxyReload(play.world.proxy, config, Limits()).apply({})
    plain.send(b"question")
    assert play.world.dials == []
    assert plain.ended
    assert serves(play, secret.handshake())
