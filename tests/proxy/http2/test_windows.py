"""Flow control in both directions, and back-pressure (RFC 9113 sections 5.2, 6.1, 6.9)."""

from __future__ import annotations

import pytest

from proxy.http2 import frame
from proxy.http2.errors import CANCEL
from proxy.http2.frame import LARGEST_WINDOW, PREFACE, WINDOW
from tests.proxy.http2.scene import OK, POST, Stage, client, server


def sent(stage: Stage) -> dict[int, int]:
    """Bytes of DATA by stream."""
    sizes: dict[int, int] = {}
    for kind, _, stream_id, payload in stage.frames():
        if kind == frame.DATA:
            assert len(payload) <= 16384
            sizes[stream_id] = sizes.get(stream_id, 0) + len(payload)
    return sizes


def updates(stage: Stage) -> dict[int, int]:
    """Increments by stream."""
    return {
        stream_id: int.from_bytes(payload, "big")
        for kind, _, stream_id, payload in stage.frames()
        if kind == frame.WINDOW_UPDATE
    }


def asked(*stream_ids: int, stage: Stage | None = None) -> Stage:
    """A server that began to answer these."""
    stage = stage or server()
    for stream_id in stream_ids:
        stage.request(stream_id)
        stage.session.send_headers(stream_id, OK, False)
    stage.session.take()
    stage.calls.clear()
    return stage


# ---- sending ----


def test_no_more_is_sent_than_the_window_of_the_stream() -> None:
    stage = asked(1)
    stage.say(frame.window_update(0, 10**6))
    assert stage.session.send_body(1, b"x" * 50000, False) is True
    assert stage.session.room(1) == WINDOW - 50000
    assert stage.session.send_body(1, b"x" * 50000, False) is False
    assert sent(stage) == {1: WINDOW}
    assert (stage.session.room(1), stage.session.queued) == (0, 100000 - WINDOW)
    stage.move()
    stage.say(frame.window_update(1, 1000))
    assert sent(stage) == {1: 1000}
    assert stage.calls == []
    stage.say(frame.window_update(1, 10**6))
    assert sent(stage) == {1: 100000 - WINDOW - 1000}
    assert stage.calls == [("writable", 1)]
    assert stage.session.queued == 0
    stage.say(frame.window_update(1, 1))
    assert stage.calls == [("writable", 1)]


def test_streams_take_turns_in_the_window_of_the_connection() -> None:
    stage = asked(1, 3, 5)
    assert stage.session.send_body(1, b"x" * 65535, False) is True
    assert stage.session.send_body(3, b"y" * 65535, False) is False
    assert stage.session.send_body(5, b"z" * 65535, True) is False
    assert sent(stage) == {1: 65535}
    stage.say(frame.window_update(0, 2 * 16384 + 100))
    assert sent(stage) == {3: 16384 + 100, 5: 16384}
    stage.move()
    stage.say(frame.window_update(0, 10**6))
    assert sent(stage) == {3: 65535 - 16484, 5: 65535 - 16384}
    assert stage.calls == [("writable", 5), ("writable", 3)]


def test_stream_without_room_does_not_hold_up_others() -> None:
    stage = asked(1, 3)
    stage.say(frame.window_update(0, 10**6))
    stage.session.send_body(1, b"x" * 100000, False)
    stage.session.take()
    assert stage.session.send_body(3, b"y" * 1000, False) is True
    assert sent(stage) == {3: 1000}


def test_end_and_trailers_wait_behind_the_body() -> None:
    stage = asked(1, 3)
    stage.session.send_body(1, b"x" * 70000, True)
    stage.session.send_body(3, b"y" * 10, False)
    stage.session.send_trailers(3, [(b"grpc-status", b"0")])
    assert stage.session.send_body(3, b"", False) is False
    stage.session.send_trailers(3, [(b"grpc-status", b"1")])
    assert sent(stage) == {1: 65535}
    stage.move()
    stage.say(frame.window_update(0, 10**5), frame.window_update(1, 10**5))
    frames = stage.frames()
    assert [(kind, flags, stream_id) for kind, flags, stream_id, _ in frames] == [
        (frame.DATA, 0, 3),
        (frame.HEADERS, 5, 3),
        (frame.DATA, 1, 1),
    ]
    assert stage.decoder.decode(frames[1][3], raw=True) == [(b"grpc-status", b"0")]
    assert stage.calls == [("writable", 3), ("writable", 1)]
    assert not stage.session.streams


def test_empty_end_needs_no_window() -> None:
    stage = asked(1)
    stage.session.send_body(1, b"x" * WINDOW, False)
    assert stage.session.send_body(1, b"", True) is True
    assert [(kind, flags) for kind, flags, _, _ in stage.frames()][-1] == (frame.DATA, 1)
    assert not stage.session.streams


def test_end_goes_out_though_the_window_is_below_nothing() -> None:
    stage = asked(1, 3)
    for stream_id in (1, 3):
        stage.session.send_body(stream_id, b"x" * 1000, False)
    stage.say(frame.settings([(frame.INITIAL_WINDOW_SIZE, 0)]))
    stage.session.take()
    assert stage.session.send_body(1, b"", False) is True
    assert stage.session.send_body(1, b"", True) is True
    stage.session.send_trailers(3, [(b"grpc-status", b"0")])
    assert [one[:3] for one in stage.frames()] == [(frame.DATA, 1, 1), (frame.HEADERS, 5, 3)]
    assert not stage.session.streams


@pytest.mark.parametrize("size", [16384, 16385, 32768, 40000, 65535])
def test_large_piece_goes_out_in_frames(size: int) -> None:
    stage = asked(1)
    assert stage.session.send_body(1, b"x" * size, True) is True
    frames = stage.frames()
    assert [flags for _, flags, _, _ in frames] == [0] * (len(frames) - 1) + [1]
    assert [len(payload) for _, _, _, payload in frames[:-1]] == [16384] * (len(frames) - 1)
    assert sum(len(payload) for _, _, _, payload in frames) == size


def test_reset_drops_what_is_queued() -> None:
    stage = asked(1, 3)
    for stream_id in (1, 3):
        stage.session.send_body(stream_id, b"x" * 100000, True)
    stage.session.reset(1, CANCEL)
    stage.say(frame.rst_stream(3, 8))
    stage.session.take()
    stage.say(frame.window_update(0, 10**6))
    assert stage.frames() == []
    assert stage.session.queued == 0


def test_initial_window_moves_the_windows_of_all_streams() -> None:
    stage = asked(1)
    stage.say(frame.window_update(0, 10**6))
    stage.session.send_body(1, b"x" * 60000, False)
    stage.say(frame.settings([(frame.INITIAL_WINDOW_SIZE, 100)]))
    assert stage.session.streams[1].send_window == 100 - 60000
    assert stage.session.send_body(1, b"y" * 10, False) is False
    stage.session.take()
    stage.move()
    stage.say(frame.window_update(1, 59900))
    assert sent(stage) == {}
    stage.say(frame.window_update(1, 5))
    assert sent(stage) == {1: 5}
    stage.say(frame.settings([(frame.INITIAL_WINDOW_SIZE, 1000)]))
    assert sent(stage) == {1: 5}
    assert stage.calls == [("settled",), ("writable", 1), ("settled",)]


@pytest.mark.parametrize("stream_id", [0, 1])
def test_increment_of_nothing_or_beyond_the_largest_window(stream_id: int) -> None:
    for increment, code in ((0, "PROTOCOL_ERROR"), (LARGEST_WINDOW, "FLOW_CONTROL_ERROR")):
        stage = asked(1)
        stage.say(frame.window_update(stream_id, increment))
        if stream_id:
            assert stage.resets() == [(1, code)]
            assert stage.calls == [("reset", 1, code)]
        else:
            assert stage.goaway() == (1, code)


def test_setting_may_not_make_a_window_too_large() -> None:
    stage = asked(1)
    stage.say(frame.window_update(1, LARGEST_WINDOW - WINDOW))
    stage.say(frame.settings([(frame.INITIAL_WINDOW_SIZE, WINDOW + 1)]))
    assert stage.goaway() == (1, "FLOW_CONTROL_ERROR")


def test_window_update_of_another_length_is_refused() -> None:
    stage = server()
    stage.say(frame.frame(frame.WINDOW_UPDATE, 0, 0, bytes(3)))
    assert stage.goaway()[1] == "FRAME_SIZE_ERROR"


# ---- receiving ----


def test_windows_are_given_back_when_the_owner_has_consumed() -> None:
    stage = server(eager=False, window=WINDOW, connection=2 * WINDOW)
    stage.request(1, POST, end=False)
    for _ in range(4):
        stage.body(1, b"x" * 16000)
    assert updates(stage) == {}
    stage.session.consumed(1, 30000)
    assert updates(stage) == {}
    stage.move()
    stage.session.consumed(1, 10000)
    assert updates(stage) == {1: 40000}
    stage.session.consumed(1, 24000)
    assert updates(stage) == {}
    stage.session.consumed(1, 5)  # there is nothing left
    assert stage.session.owed == 64000


def test_owner_that_does_not_consume_stops_the_peer() -> None:
    stage = server(eager=False, window=WINDOW)
    stage.request(1, POST, end=False)
    for _ in range(4):
        stage.body(1, b"x" * 16000)
    stage.body(1, b"x" * 1536)
    assert stage.resets() == [(1, "FLOW_CONTROL_ERROR")]
    assert stage.calls[-1] == ("reset", 1, "FLOW_CONTROL_ERROR")


def test_window_of_the_connection_is_kept_too() -> None:
    stage = server(eager=False, window=WINDOW, connection=WINDOW)
    for stream_id in (1, 3):
        stage.request(stream_id, POST, end=False)
        for _ in range(2):
            stage.body(stream_id, b"x" * 16000)
    assert not stage.session.dead
    stage.body(3, b"x" * 1536)
    assert stage.goaway() == (3, "FLOW_CONTROL_ERROR")


@pytest.mark.parametrize("how", ["reset", "peer", "fault"])
def test_window_of_the_connection_comes_back_when_a_stream_ends(how: str) -> None:
    stage = server(eager=False, window=WINDOW, connection=WINDOW)
    stage.request(1, POST, end=False)
    stage.body(1, b"x" * 16000)
    stage.body(1, b"x" * 16000)
    stage.body(1, b"x" * 1000)
    if how == "reset":
        stage.session.reset(1, CANCEL)
    elif how == "peer":
        stage.say(frame.rst_stream(1, 8))
    else:
        stage.request(1, [(b"X", b"")])
    assert updates(stage)[0] == 33000
    stage.session.consumed(1, 33000)
    assert stage.session.owed == 0
    assert stage.session.receive_window == WINDOW


def test_what_is_held_of_a_whole_message_still_counts() -> None:
    """The answer of a server can wait for a slow client long after its stream has ended."""
    stage = client(eager=False, window=WINDOW, connection=WINDOW)
    stage.call()
    stage.session.take()
    stage.say(stage.heads(1, OK, end=False))
    stage.body(1, b"x" * 16000)
    stage.body(1, b"x" * 16000)
    stage.body(1, b"x" * 16000, end=True)
    assert not stage.session.streams
    stage.move()
    stage.session.consumed(1, 30000)
    assert updates(stage) == {}
    stage.session.consumed(1, 10000)
    assert updates(stage) == {0: 40000}
    stage.session.reset(1, CANCEL)
    stage.session.consumed(1, 8000)
    assert updates(stage) == {}
    assert stage.session.owed == 8000
    assert not stage.session.lingering


def test_streams_that_linger_are_bounded() -> None:
    stage = server(eager=False)
    for stream_id in range(1, 4001, 2):
        stage.request(stream_id, POST, end=False)
        stage.body(stream_id, b"x", end=True)
        stage.session.send_headers(stream_id, OK, True)
    assert len(stage.session.lingering) == 1024
    assert stage.session.owed == 2000 - 1024


def test_padding_counts_and_comes_back_at_once() -> None:
    stage = server(eager=False, window=WINDOW, connection=WINDOW)
    stage.request(1, POST, end=False)
    for _ in range(300):
        stage.say(frame.frame(frame.DATA, frame.PADDED, 1, b"\xff" + b"x" + bytes(255)))
    assert stage.calls[1:] == [("body", 1, b"x", False)] * 300
    given = updates(stage)
    assert given[0] >= 32768
    assert given[1] >= 32768
    assert stage.session.streams[1].held == 300


def test_our_window_applies_once_it_is_acknowledged() -> None:
    """A smaller one than the default: what came before is within the default, and counts."""
    stage = server(fresh=True, window=1000, eager=False)
    stage.say(PREFACE, frame.settings([]))
    stage.request(1, POST, end=False)
    stage.body(1, b"x" * 1500)
    assert stage.calls[-1] == ("body", 1, b"x" * 1500, False)
    stage.say(frame.SETTINGS_ACK)
    stage.session.take()
    assert stage.session.streams[1].receive_window == -500
    stage.body(1, b"x")
    assert stage.resets() == [(1, "FLOW_CONTROL_ERROR")]
    stage.request(3, POST, end=False)
    stage.body(3, b"x" * 1001)
    assert stage.resets() == [(3, "FLOW_CONTROL_ERROR")]


def test_body_of_a_stream_that_we_reset_counts_for_the_connection() -> None:
    stage = server(connection=WINDOW)
    stage.request(1, POST, end=False)
    stage.session.reset(1, CANCEL)
    stage.session.take()
    for _ in range(3):
        stage.body(1, b"x" * 16000)
    assert updates(stage) == {0: 48000}
