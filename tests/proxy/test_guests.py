"""What lives on another's transport changes the value that it is a part of."""

from __future__ import annotations

from tests.proxy.http1.scene import web
from tests.proxy.http2.browser import Browser, speaking
from tests.proxy.simulation import World


def test_change_of_a_stream_alone_is_copied() -> None:
    """Between a first round and the last one nothing happens on the client's connection, only behind its stream."""
    world = World(speaking(web()))
    browser = Browser(world)
    number = browser.ask()
    dial = world.dialled()
    world.move(meanwhile=dial.accept)
    world.tick()
    dial.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert browser.heard(number).body == b"hello"
