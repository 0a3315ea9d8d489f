"""What a client can make of a handshake that it does not mean: it is given up soon, whatever it costs the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.tls.handshake import MOST_BYTES, MOST_RECORDS

if TYPE_CHECKING:
    from tests.proxy.tls.scene import Build

HELLO = b"\x01\x01\xff\xff\x03\x03"
"""The beginning of a ClientHello of 128 KB."""


def records(message: bytes, size: int) -> bytes:
    """The message in records of that many bytes."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_a_handshake_in_far_too_many_records_is_given_up(scene: Build) -> None:
    """Each is a step of OpenSSL: tens of thousands of them in one read would keep everybody else waiting."""
    play = scene()
    client = play.socket()
    flight = records(HELLO + bytes(MOST_RECORDS), 1)
    client.send(flight[: 6 * MOST_RECORDS])
    under_way = not client.ended
    assert under_way
    client.send(flight[6 * MOST_RECORDS :])
    assert client.ended
    assert len(play.world.proxy.values()) == 0


def test_a_handshake_without_end_is_given_up(scene: Build) -> None:
    play = scene()
    client = play.socket()
    for _ in range(MOST_BYTES // 16384 + 1):
        if not client.ended:
            client.send(b"\x16\x03\x01\x40\x00" + b"\x01\x02\x00\x00\x03\x03" + bytes(16378))
    assert client.ended


@pytest.mark.parametrize("first", [b"\x17\x03\x03\x00\x01\x00", b"\x16\x02\x00\x00\x00", b"\x16\x03\x01\xff\xff"])
def test_what_begins_no_handshake_is_turned_away_at_once(scene: Build, first: bytes) -> None:
    play = scene(listener={"max_connections": 1})
    for _ in range(3):
        client = play.socket()
        client.send(first)
        assert client.ended
    assert len(play.world.proxy.values()) == 0
