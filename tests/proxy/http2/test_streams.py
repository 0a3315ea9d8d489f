"""Streams and their states, ids, concurrency, resets (RFC 9113 sections 5.1, 6.2, 6.4, 6.10)."""

from __future__ import annotations

import pytest

from proxy.http2 import frame
from proxy.http2.errors import CANCEL, NO_ERROR
from tests.proxy.http2.scene import GET, OK, POST, client, server


def test_request_and_response() -> None:
    stage = server()
    stage.request(1, POST, end=False)
    stage.body(1, b"hello")
    stage.body(1, b"", end=True)
    assert stage.calls == [("headers", 1, POST, False), ("body", 1, b"hello", False), ("body", 1, b"", True)]
    stage.session.send_headers(1, OK, False)
    assert stage.session.send_body(1, b"world", False) is True
    assert stage.session.send_body(1, b"", True) is True
    (_, _, _, block), *rest = stage.frames()
    assert stage.decoder.decode(block, raw=True) == OK
    assert rest == [(frame.DATA, 0, 1, b"world"), (frame.DATA, 1, 1, b"")]
    assert not stage.session.streams


def test_call_and_answer() -> None:
    stage = client()
    stream_id = stage.call(POST, end=False)
    assert stream_id == 1
    stage.session.send_body(1, b"hello", True)
    stage.say(stage.heads(1, [(b":status", b"103")], end=False), stage.heads(1, OK, end=False))
    stage.body(1, b"world")
    stage.say(stage.heads(1, [(b"grpc-status", b"0")]))
    assert stage.calls == [
        ("headers", 1, [(b":status", b"103")], False),
        ("headers", 1, OK, False),
        ("body", 1, b"world", False),
        ("trailers", 1, [(b"grpc-status", b"0")]),
    ]
    assert not stage.session.streams


def test_trailers_of_a_request_and_of_a_response() -> None:
    stage = server()
    stage.request(1, POST, end=False)
    stage.request(1, [(b"x-sum", b"7")])
    assert stage.calls[-1] == ("trailers", 1, [(b"x-sum", b"7")])
    stage.session.send_headers(1, OK, False)
    stage.session.send_trailers(1, [(b"grpc-status", b"0")])
    assert [one[:2] for one in stage.frames()] == [(frame.HEADERS, 4), (frame.HEADERS, 5)]
    assert not stage.session.streams


@pytest.mark.parametrize("parts", [2, 3, 10])
def test_block_in_parts_is_put_together(parts: int) -> None:
    stage = server()
    fields = [*GET, (b"x-long", b"y" * 100)]
    block = stage.block(fields)
    step = -(-len(block) // parts)
    pieces = [block[at : at + step] for at in range(0, len(block), step)]
    stage.say(frame.frame(frame.HEADERS, frame.END_STREAM, 1, pieces[0]))
    for piece in pieces[1:]:
        stage.move()
        assert stage.calls == []
        stage.say(frame.frame(frame.CONTINUATION, 4 if piece is pieces[-1] else 0, 1, piece))
    assert stage.calls == [("headers", 1, fields, True)]


@pytest.mark.parametrize(
    "then",
    [
        frame.frame(frame.CONTINUATION, 4, 3),
        frame.frame(frame.DATA, 0, 1, b"x"),
        frame.ping(b"12345678"),
        frame.settings([]),
        frame.rst_stream(1, 8),
    ],
)
def test_nothing_may_come_between_the_parts_of_a_block(then: bytes) -> None:
    stage = server()
    stage.say(frame.frame(frame.HEADERS, 0, 1, stage.block(GET)), then)
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


def test_continuation_of_nothing_is_a_protocol_error() -> None:
    stage = server()
    stage.say(frame.frame(frame.CONTINUATION, 4, 1))
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


# ---- ids ----


@pytest.mark.parametrize(
    "bad",
    [
        frame.frame(frame.DATA, 0, 0, b"x"),
        frame.frame(frame.HEADERS, 4, 0, b"\x82"),
        frame.rst_stream(0, 8),
    ],
)
def test_frame_of_a_stream_needs_one(bad: bytes) -> None:
    stage = server()
    stage.say(bad)
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


@pytest.mark.parametrize(
    "bad", [frame.frame(frame.DATA, 0, 5, b"x"), frame.rst_stream(5, 8), frame.window_update(5, 1)]
)
@pytest.mark.parametrize("kind", [server, client])
def test_idle_stream_takes_nothing_but_headers(kind: type, bad: bytes) -> None:
    stage = kind()
    stage.say(bad)
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


def test_even_ids_are_refused() -> None:
    stage = server()
    stage.request(2)
    assert stage.goaway()[1] == "PROTOCOL_ERROR"
    stage = client()
    stage.say(stage.heads(2, OK))
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


def test_headers_of_a_stream_that_was_not_opened_are_refused() -> None:
    stage = client()
    stage.say(stage.heads(1, OK))
    assert stage.goaway()[1] == "PROTOCOL_ERROR"


def test_lower_id_was_closed_by_the_higher_one() -> None:
    stage = server()
    stage.request(5)
    stage.request(3)
    assert stage.goaway() == (5, "STREAM_CLOSED")


def test_ids_of_a_client_are_odd_and_rise_to_their_end() -> None:
    stage = client()
    assert [stage.session.open() for _ in range(3)] == [1, 3, 5]
    stage.session.next_id = frame.LAST_STREAM
    stage.move()
    assert stage.session.open() == frame.LAST_STREAM
    assert stage.session.open() == 0
    assert stage.session.is_spent()


# ---- closed ----


def test_half_closed_stream_takes_no_more() -> None:
    stage = server()
    stage.request(1)
    stage.body(1, b"x")
    assert stage.resets() == [(1, "STREAM_CLOSED")]
    assert stage.calls[-1] == ("reset", 1, "STREAM_CLOSED")
    stage.request(3)
    stage.request(3, [(b"x-a", b"1")])
    assert stage.resets() == [(3, "STREAM_CLOSED")]


def test_closed_stream_takes_no_more() -> None:
    stage = server()
    stage.request(1)
    stage.session.send_headers(1, OK, True)
    stage.session.take()
    stage.body(1, b"x")
    assert stage.resets() == [(1, "STREAM_CLOSED")]
    stage = server()
    stage.request(1)
    stage.session.send_headers(1, OK, True)
    stage.request(1)
    assert stage.goaway() == (1, "STREAM_CLOSED")


def test_window_update_and_reset_of_a_closed_stream_are_ignored() -> None:
    stage = server()
    stage.request(1)
    stage.session.send_headers(1, OK, True)
    stage.session.take()
    stage.say(frame.window_update(1, 10), frame.rst_stream(1, 8))
    assert stage.frames() == []
    assert len(stage.calls) == 1


def test_what_was_on_its_way_to_a_stream_that_we_reset_is_ignored() -> None:
    stage = server()
    stage.request(1, POST, end=False)
    stage.session.reset(1, CANCEL)
    assert stage.resets() == [(1, "CANCEL")]
    stage.move()
    stage.body(1, b"x" * 1000)
    stage.request(1, [(b"x-sum", b"1")])
    stage.say(frame.window_update(1, 5), frame.rst_stream(1, 8))
    assert stage.frames() == []
    assert [call[0] for call in stage.calls] == ["headers"]


def test_only_the_latest_resets_are_remembered() -> None:
    stage = server(limits=type(stage_limits := server().session.limits)(resets=10**6, stall=stage_limits.stall))
    for number in range(1, 801, 2):
        stage.request(number, POST, end=False)
        stage.session.reset(number, CANCEL)
    assert len(stage.session.dropped) == 256


def test_peer_resets_a_stream() -> None:
    stage = server()
    stage.request(1, POST, end=False)
    stage.say(frame.rst_stream(1, 8))
    assert stage.calls[-1] == ("reset", 1, "CANCEL")
    assert stage.session.send_body(1, b"x", False) is False
    stage.session.send_headers(1, OK, True)
    stage.session.send_trailers(1, OK)
    stage.session.reset(1, CANCEL)
    stage.session.consumed(1, 100)
    assert stage.frames() == []


def test_malformed_reset_is_refused() -> None:
    stage = server()
    stage.request(1)
    stage.say(frame.frame(frame.RST_STREAM, 0, 1, bytes(5)))
    assert stage.goaway()[1] == "FRAME_SIZE_ERROR"


def test_early_answer_asks_the_client_to_stop() -> None:
    """RFC 9113 section 8.1: RST_STREAM with NO_ERROR behind a whole response."""
    stage = server()
    stage.request(1, POST, end=False)
    stage.session.send_headers(1, OK, True)
    stage.session.reset(1, NO_ERROR)
    assert [one[:2] for one in stage.frames()] == [(frame.HEADERS, 5), (frame.RST_STREAM, 0)]
    stage.body(1, b"still coming", end=True)
    assert stage.frames() == []


def test_stream_that_never_left_is_not_reset() -> None:
    stage = client()
    stream_id = stage.session.open()
    stage.session.reset(stream_id, CANCEL)
    assert stage.frames() == []
    assert not stage.session.streams


# ---- concurrency ----


def test_streams_beyond_their_number_are_refused() -> None:
    stage = server(streams=2)
    for stream_id in (1, 3, 5):
        stage.request(stream_id)
    assert stage.resets() == [(5, "REFUSED_STREAM")]
    assert ("refused", 5, 503) in stage.calls
    stage.session.send_headers(1, OK, True)
    stage.request(7)
    assert stage.calls[-1] == ("headers", 7, GET, True)


def test_client_keeps_to_the_number_of_the_server() -> None:
    stage = client()
    stage.say(frame.settings([(frame.MAX_CONCURRENT_STREAMS, 2)]))
    assert [stage.call(), stage.call(), stage.session.open()] == [1, 3, 0]
    assert (stage.session.can_open(), stage.session.is_spent()) == (False, False)
    stage.say(stage.heads(1, OK))
    assert (stage.session.can_open(), stage.session.is_spent()) == (True, False)
    assert stage.session.open() == 5


def test_client_opens_a_hundred_before_it_knows() -> None:
    stage = client(fresh=True)
    assert sum(bool(stage.session.open()) for _ in range(200)) == 100
    stage.say(frame.settings([]))
    assert stage.session.can_open()
    stage.say(frame.settings([(frame.MAX_CONCURRENT_STREAMS, 100)]), frame.settings([]))
    assert stage.session.theirs.streams == 100
