"""Preface, SETTINGS, PING, GOAWAY, and frames that are ignored (RFC 9113 sections 3.4, 4, 5.4, 5.5, 6.5, 6.7, 6.8)."""

from __future__ import annotations

import pytest

from proxy.http2 import frame
from proxy.http2.controls import FAREWELL, HEARTBEAT
from proxy.http2.frame import PREFACE
from tests.proxy.http2.scene import GET, OK, Stage, client, server

BIG = (frame.LARGEST_WINDOW + 1).to_bytes(4, "big")


def setting(identifier: int, value: int) -> bytes:
    return frame.settings([(identifier, value)])


# ---- preface ----


def test_settings_are_the_first_frame_of_both() -> None:
    one = server(fresh=True)
    assert [kind for kind, *_ in one.frames()] == [frame.SETTINGS, frame.WINDOW_UPDATE]
    other = client(fresh=True)
    out = other.session.take()
    assert out.startswith(PREFACE)
    assert next(frame.frames(out[len(PREFACE) :]))[0] == frame.SETTINGS


@pytest.mark.parametrize("cut", range(1, len(PREFACE)))
def test_preface_may_come_in_parts(cut: int) -> None:
    stage = server(fresh=True)
    stage.say(PREFACE[:cut])
    assert not stage.session.dead
    stage.say(PREFACE[cut:] + frame.settings([]))
    assert stage.calls == [("settled",)]


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"\x16\x03\x01", b"Q"])
def test_other_first_bytes_are_a_protocol_error(hello: bytes) -> None:
    stage = server(fresh=True)
    stage.say(hello)
    assert stage.goaway() == (0, "PROTOCOL_ERROR")


@pytest.mark.parametrize("first", [frame.ping(b"12345678"), frame.SETTINGS_ACK, frame.window_update(0, 1)])
@pytest.mark.parametrize("kind", [server, client])
def test_another_first_frame_than_settings_is_a_protocol_error(kind: type[Stage], first: bytes) -> None:
    stage = kind(fresh=True)
    stage.say(PREFACE if stage.session.server else b"", first)
    assert stage.goaway() == (0, "PROTOCOL_ERROR")


# ---- frames ----


def test_frame_over_the_limit_is_refused_at_its_head() -> None:
    stage = server()
    stage.say(frame.HEAD.pack(0, 16385, frame.DATA, 0, 1))
    assert stage.goaway() == (0, "FRAME_SIZE_ERROR")


def test_largest_frame_is_what_we_announced() -> None:
    stage = server(frame=20000)
    stage.request(1, end=False)
    stage.body(1, b"x" * 20000)
    assert stage.calls[-1] == ("body", 1, b"x" * 20000, False)


def test_unknown_frames_are_ignored() -> None:
    stage = server()
    for kind in (10, 12, 99, 255):
        stage.say(frame.frame(kind, 0xFF, 0, b"whatever"), frame.frame(kind, 0, 7, b""))
    stage.request(1)
    assert stage.frames() == []
    assert [call[0] for call in stage.calls] == ["headers"]


def test_unknown_frame_within_a_block_is_a_protocol_error() -> None:
    stage = server()
    stage.say(frame.frame(frame.HEADERS, 0, 1, stage.block(GET)), frame.frame(99, 0, 1))
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


def test_undefined_flags_and_the_reserved_bit_mean_nothing() -> None:
    stage = server()
    stage.say(frame.frame(frame.HEADERS, 0x05 | 0x40 | 0x80, 1 | 1 << 31, stage.block(GET)))
    stage.say(frame.frame(frame.PING, 0xFE, 1 << 31, b"12345678"))
    assert stage.calls == [("headers", 1, GET, True)]
    assert stage.frames() == [(frame.PING, frame.ACK, 0, b"12345678")]


def test_priorities_are_ignored() -> None:
    stage = server()
    stage.say(frame.frame(frame.PRIORITY, 0, 1, bytes(5)), frame.frame(frame.PRIORITY, 0, 99, bytes(5)))
    stage.say(frame.frame(frame.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=3"))
    stage.request(1)
    assert stage.frames() == []
    assert [call[0] for call in stage.calls] == ["headers"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame.frame(frame.PRIORITY, 0, 0, bytes(5)), "PROTOCOL_ERROR"),
        (frame.frame(frame.PRIORITY, 0, 1, bytes(4)), "FRAME_SIZE_ERROR"),
        (frame.frame(frame.PRIORITY_UPDATE, 0, 1, bytes(4)), "PROTOCOL_ERROR"),
        (frame.frame(frame.PRIORITY_UPDATE, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
    ],
)
def test_malformed_priority_is_refused(bad: bytes, code: str) -> None:
    stage = server()
    stage.say(bad)
    assert stage.goaway()[1] == code


@pytest.mark.parametrize("kind", [server, client])
def test_push_is_refused(kind: type[Stage]) -> None:
    stage = kind()
    stage.say(frame.frame(frame.PUSH_PROMISE, frame.END_HEADERS, 1, b"\0\0\0\2"))
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


# ---- SETTINGS ----


def test_client_forbids_push() -> None:
    kind, flags, stream_id, payload = client(fresh=True).frames()[0]
    assert (kind, flags, stream_id) == (frame.SETTINGS, 0, 0)
    assert (frame.ENABLE_PUSH, 0) in frame.read_settings(payload)


def test_server_announces_its_limits() -> None:
    stage = server(fresh=True, streams=7, window=100000, connection=200000, frame=32768, header_list=9999, connect=True)
    (_, _, _, payload), (_, _, stream_id, more) = stage.frames()
    assert dict(frame.read_settings(payload)) == {
        frame.MAX_CONCURRENT_STREAMS: 7,
        frame.INITIAL_WINDOW_SIZE: 100000,
        frame.MAX_FRAME_SIZE: 32768,
        frame.MAX_HEADER_LIST_SIZE: 9999,
        frame.ENABLE_CONNECT_PROTOCOL: 1,
        frame.NO_RFC7540_PRIORITIES: 1,
    }
    assert (stream_id, int.from_bytes(more, "big")) == (0, 200000 - frame.WINDOW)


def test_settings_are_acknowledged_and_applied_in_order() -> None:
    stage = server()
    stage.say(frame.settings([(frame.MAX_FRAME_SIZE, 20000), (frame.MAX_FRAME_SIZE, 30000), (77, 1)]))
    assert stage.frames() == [(frame.SETTINGS, frame.ACK, 0, b"")]
    assert stage.session.theirs.frame == 30000
    assert stage.calls == [("settled",)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame.frame(frame.SETTINGS, 0, 1), "PROTOCOL_ERROR"),
        (frame.frame(frame.SETTINGS, 0, 0, bytes(5)), "FRAME_SIZE_ERROR"),
        (frame.frame(frame.SETTINGS, frame.ACK, 0, bytes(6)), "FRAME_SIZE_ERROR"),
        (setting(frame.ENABLE_PUSH, 2), "PROTOCOL_ERROR"),
        (setting(frame.INITIAL_WINDOW_SIZE, 2**31), "FLOW_CONTROL_ERROR"),
        (setting(frame.MAX_FRAME_SIZE, 16383), "PROTOCOL_ERROR"),
        (setting(frame.MAX_FRAME_SIZE, 2**24), "PROTOCOL_ERROR"),
        (setting(frame.ENABLE_CONNECT_PROTOCOL, 2), "PROTOCOL_ERROR"),
        (setting(frame.ENABLE_CONNECT_PROTOCOL, 1) + setting(frame.ENABLE_CONNECT_PROTOCOL, 0), "PROTOCOL_ERROR"),
    ],
)
def test_bad_settings_are_refused(bad: bytes, code: str) -> None:
    stage = server()
    stage.say(bad)
    assert stage.goaway()[1] == code


def test_server_that_enables_push_is_refused() -> None:
    stage = client()
    stage.say(setting(frame.ENABLE_PUSH, 1))
    assert stage.goaway()[1] == "PROTOCOL_ERROR"
    stage = client()
    stage.say(setting(frame.ENABLE_PUSH, 0))
    assert not stage.session.dead


def test_table_of_the_peer_bounds_our_encoder() -> None:
    stage = client()
    stage.say(setting(frame.HEADER_TABLE_SIZE, 0))
    stage.session.take()
    for _ in range(2):
        stage.call([*GET, (b"x-own", b"1")])
    for _, _, _, block in stage.frames():
        assert stage.decoder.decode(block, raw=True) == [*GET, (b"x-own", b"1")]
        assert not stage.decoder.header_table.dynamic_entries


def test_our_table_applies_once_it_is_acknowledged() -> None:
    """A smaller one: the peer goes on with 4096 until then, and has to say so afterwards."""
    stage = server(fresh=True, table=100)
    stage.say(PREFACE, frame.settings([]), stage.heads(1, [*GET, (b"x-own", b"y" * 200)]))
    assert stage.calls[-1][0] == "headers"
    stage.say(frame.SETTINGS_ACK)
    stage.encoder.header_table_size = 100
    stage.request(3, [*GET, (b"x-own", b"y" * 200)])
    assert stage.calls[-1][:2] == ("headers", 3)
    stage = server(table=100)
    stage.request(1)
    assert stage.goaway()[1] == "COMPRESSION_ERROR"


# ---- PING ----


def test_ping_is_answered() -> None:
    stage = server()
    stage.say(frame.ping(b"abcdefgh"), frame.ping(b"12345678"))
    assert stage.frames() == [(frame.PING, frame.ACK, 0, b"abcdefgh"), (frame.PING, frame.ACK, 0, b"12345678")]
    assert stage.calls == []


def test_answer_to_our_ping_is_told() -> None:
    stage = client()
    stage.session.ping()
    assert stage.frames() == [(frame.PING, 0, 0, HEARTBEAT)]
    stage.move()
    stage.say(frame.ping(b"12345678", ack=True))
    assert stage.calls == []
    stage.say(frame.ping(HEARTBEAT, ack=True))
    assert stage.calls == [("pong",)]
    stage.say(frame.ping(HEARTBEAT, ack=True))
    assert stage.calls == [("pong",)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame.frame(frame.PING, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
        (frame.frame(frame.PING, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
        (frame.frame(frame.PING, frame.ACK, 0, bytes(9)), "FRAME_SIZE_ERROR"),
    ],
)
def test_malformed_ping_is_refused(bad: bytes, code: str) -> None:
    stage = server()
    stage.say(bad)
    assert stage.goaway()[1] == code


# ---- GOAWAY ----


def test_server_shuts_down_in_two_stages() -> None:
    """RFC 9113 section 6.8: streams that were on their way are taken."""
    stage = server()
    stage.request(1)
    stage.session.shut_down()
    assert stage.frames() == [
        (frame.GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0"),
        (frame.PING, 0, 0, FAREWELL),
    ]
    stage.move()
    stage.request(3)
    stage.say(frame.ping(FAREWELL, ack=True))
    assert stage.frames() == [(frame.GOAWAY, 0, 0, b"\0\0\0\3\0\0\0\0")]
    stage.move()
    stage.request(5, end=False)
    stage.body(5, b"too late", end=True)
    assert [call[:2] for call in stage.calls] == [("headers", 1), ("headers", 3)]
    for stream_id in (1, 3):
        stage.session.send_headers(stream_id, OK, True)
    assert [one[:3] for one in stage.frames()] == [(frame.HEADERS, 5, 1), (frame.HEADERS, 5, 3)]
    assert not stage.session.streams


def test_second_stage_comes_by_a_second_call_if_no_answer_does() -> None:
    stage = server()
    for _ in range(3):
        stage.session.shut_down()
    assert [kind for kind, *_ in stage.frames()] == [frame.GOAWAY, frame.PING, frame.GOAWAY]


def test_blocks_after_the_last_stream_keep_the_table_in_step() -> None:
    stage = server()
    stage.session.shut_down()
    stage.session.shut_down()
    stage.request(1, [*GET, (b"x-own", b"1")])
    assert stage.calls == []
    assert len(stage.session.decoder.entries) == len(stage.encoder.header_table.dynamic_entries) > 0
    assert not stage.session.dead


def test_client_that_shuts_down_opens_nothing() -> None:
    stage = client()
    stream_id = stage.call()
    stage.session.shut_down()
    assert stage.session.open() == 0
    assert stage.session.is_spent()
    stage.say(stage.heads(stream_id, OK))
    assert stage.calls[-1] == ("headers", stream_id, OK, True)


def test_streams_that_the_peer_did_not_take_may_be_repeated() -> None:
    stage = client()
    ids = [stage.call() for _ in range(3)]
    stage.say(frame.goaway(frame.LAST_STREAM, 0))
    assert stage.calls == [("goaway", frame.LAST_STREAM, "NO_ERROR")]
    stage.move()
    stage.say(frame.goaway(ids[0], 0))
    assert stage.calls[1:] == [
        ("goaway", ids[0], "NO_ERROR"),
        ("reset", ids[1], "REFUSED_STREAM"),
        ("reset", ids[2], "REFUSED_STREAM"),
    ]
    stage.say(stage.heads(ids[0], OK))
    assert stage.calls[-1] == ("headers", ids[0], OK, True)
    assert stage.session.open() == 0


def test_goaway_of_a_client_is_told() -> None:
    stage = server()
    stage.request(1)
    stage.say(frame.goaway(0, 2, b"bye"))
    assert stage.calls[-1] == ("goaway", 0, "INTERNAL_ERROR")
    stage.session.send_headers(1, OK, True)
    assert [kind for kind, *_ in stage.frames()] == [frame.HEADERS]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame.frame(frame.GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
        (frame.frame(frame.GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
        (frame.goaway(1, 0) + frame.goaway(3, 0), "PROTOCOL_ERROR"),
    ],
)
def test_malformed_goaway_is_refused(bad: bytes, code: str) -> None:
    stage = client()
    stage.say(bad)
    assert stage.goaway()[1] == code


def test_end_says_goaway_and_nothing_more() -> None:
    stage = server()
    stage.request(1)
    stage.session.end()
    assert stage.frames() == [(frame.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0")]
    stage.request(3)
    stage.session.ping()
    stage.session.send_headers(1, OK, True)
    assert stage.frames() == []
    assert [call[0] for call in stage.calls] == ["headers"]
