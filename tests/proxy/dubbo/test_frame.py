"""Heads, byte-exact against the frames of real peers."""

from __future__ import annotations

import pytest

from proxy.dubbo import frame
from proxy.dubbo.frame import READONLY, encode, heartbeat, heartbeat_answer, read_head
from proxy.dubbo.wire import DUBBO
from proxy.multiplexed.wire import BadFrame
from tests.kit import dubbo
from tests.proxy.dubbo.scene import Captured, captured

STATUS = {"OK": 20, "SERVER_ERROR": 80}


@pytest.mark.parametrize("one", captured(), ids=lambda one: f"{one.source.split()[0]}-{one.kind}-{one.number}")
def test_heads_of_real_peers(one: Captured) -> None:
    head = read_head(one.frame, 0)
    assert head is not None
    assert head.id == one.number
    assert head.payload == one.len
    assert head.length == len(one.frame)
    assert (head.calls, head.answers) == (one.req and not one.event, not one.req)
    assert head.wants_answer == (one.req and one.twoway)
    assert head.flags & frame.SERIALIZATION == one.serialization
    if one.status:
        assert head.status == STATUS[one.status]
    assert encode(head.flags, head.status, head.id, one.frame[16:]) == one.frame
    for cut in range(len(one.frame)):
        part = read_head(one.frame[:cut], 0)
        assert part is None if cut < 16 else part == head


def test_our_own_frames_are_those_of_java() -> None:
    java = {one.kind: one.frame for one in captured() if one.source.startswith("java") and one.event}
    assert heartbeat(3) == java["event-request"]
    head = read_head(java["event-request"], 0)
    assert head is not None
    assert heartbeat_answer(head, b"N") == java["event-response"]
    assert java["event-request-oneway"] == READONLY


def test_an_error_looks_like_that_of_a_server() -> None:
    error = frame.error(-2, frame.NOT_FOUND)
    head = read_head(error, 0)
    assert head is not None
    assert (head.flags, head.status, head.id) == (2, 60, -2)
    assert error[16:] == dubbo.text("no route takes this service")


@pytest.mark.parametrize("body", [b"null\n", b"N", b"", b"x" * 64])
def test_null_of_any_serialization_comes_back(body: bytes) -> None:
    head = read_head(encode(0xE6, 0, -1, body), 0)
    assert head is not None
    assert heartbeat_answer(head, body) == encode(0x26, 20, -1, body)


def test_long_event_is_answered_in_hessian() -> None:
    head = read_head(encode(0xE6, 0, 5, b"x" * 65), 0)
    assert head is not None
    assert heartbeat_answer(head, b"x" * 65) == bytes.fromhex("dabb22140000000000000005000000014e")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\xda\xbc", b"\xdb", bytes(16)])
def test_what_is_no_frame_is_told_from_the_first_byte(data: bytes) -> None:
    with pytest.raises(BadFrame, match="dabb"):
        read_head(data, 0)


def test_negative_length_is_no_frame() -> None:
    with pytest.raises(BadFrame, match="length"):
        read_head(b"\xda\xbb\xc2\0" + bytes(8) + b"\xff\xff\xff\xff", 0)


def test_frames_of_a_stream() -> None:
    stream = b"".join(one.frame for one in captured())
    assert [head.id for head, _ in DUBBO.frames(stream)] == [one.number for one in captured()]
    assert len(list(DUBBO.frames(stream[:-1]))) == len(captured()) - 1
