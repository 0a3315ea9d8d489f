"""The codec against frames that real peers sent."""

from __future__ import annotations

import pytest

from proxy.bolt import frame
from proxy.bolt.frame import crc_fits, frames, read_head, write_crc
from proxy.multiplexed.wire import BadFrame
from tests.proxy.bolt.scene import Captured, captured, exchanges

TYPES = {"RESP": 0, "REQ": 1, "ONEWAY": 2}
ALL = captured()


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.kind}-{one.number}")
def test_captured_frame_is_read(one: Captured) -> None:
    head = read_head(one.frame, 0)
    assert head is not None
    codec = one.codec if one.proto == 1 else one.codec << 8 | one.switched
    expected = (one.proto, one.ver1, TYPES[one.type], one.cmdcode, one.number, codec)
    assert (head.layout.version, head.ver1, head.type, head.command, head.id, head.codec) == expected
    assert head.timeout == (one.status if one.timeout is None else one.timeout)
    assert head.length == len(one.frame)
    assert head.has_crc is (one.crc is not None)
    start = head.size + head.class_length + head.header_length
    assert one.frame[head.size : head.size + head.class_length] == one.class_name.encode()
    assert one.frame[start : start + head.content_length].hex() == one.content


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.kind}-{one.number}")
def test_head_wants_more_until_it_is_complete(one: Captured) -> None:
    for length in range(1, 20):
        assert read_head(one.frame[:length], 0) is None
    assert [at for _, at in frames(one.frame * 3 + one.frame[:-1])] == [len(one.frame) * n for n in range(3)]


@pytest.mark.parametrize("one", [one for one in ALL if one.crc], ids=lambda one: f"{one.kind}-{one.number}")
def test_crc_is_that_of_the_peers(one: Captured) -> None:
    assert crc_fits(one.frame, 0, len(one.frame))
    patched = bytearray(one.frame)
    patched[6:10] = b"\1\2\3\4"
    assert not crc_fits(patched, 0, len(patched))
    write_crc(patched, 0, len(patched))
    assert crc_fits(patched, 0, len(patched))
    patched[6:10] = one.frame[6:10]
    write_crc(patched, 0, len(patched))
    assert patched == one.frame


@pytest.mark.parametrize("one", [one for one in ALL if "hijack" in one.kind], ids=lambda one: one.kind)
def test_errors_are_what_the_peers_understand(one: Captured) -> None:
    assert one.status is not None
    codec = one.codec if one.proto == 1 else one.codec << 8 | one.switched
    assert frame.error(one.number, codec, one.ver1, one.status) == one.frame


@pytest.mark.parametrize(
    ("asked", "answer"),
    [both for both in exchanges() if both[0].kind.startswith("heartbeat")],
    ids=lambda one: f"{one.source}-{one.number}",
)
def test_heartbeats_are_answered_as_the_servers_do(asked: Captured, answer: Captured) -> None:
    head = read_head(asked.frame, 0)
    assert head is not None
    assert frame.heartbeat_answer(head) == answer.frame


@pytest.mark.parametrize("version", [1, 2])
def test_heartbeats_are_sent_as_java_does(version: int) -> None:
    java = [one for one in ALL if one.kind == "heartbeat-request" and "java" in one.source and one.proto == version]
    assert java
    for one in java:
        assert frame.heartbeat(version, one.number) == one.frame


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 24,
        b"\3" + bytes(23),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\1\3" + bytes(22),
        b"\2\0\1" + bytes(22),
        b"\2\3\1" + bytes(22),
        b"\2\1\7" + bytes(22),
        bytes.fromhex("01010001010000000101000000008000000000000000"),
        bytes.fromhex("01010001010000000101000000000000ffff00000000"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        read_head(data, 0)
