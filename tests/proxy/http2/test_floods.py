"""What nobody needs so much of ends that connection with ENHANCE_YOUR_CALM; and what real peers do does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.http2 import frame
from proxy.http2.budget import Bucket, Limits
from proxy.http2.errors import CANCEL
from proxy.http2.frame import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS
from tests.proxy.http2.scene import GET, LIMITS, OK, POST, Stage, client, server

if TYPE_CHECKING:
    from collections.abc import Callable

CALM = "ENHANCE_YOUR_CALM"
OPEN = 1


def flood(stage: Stage, one: Callable[[int], bytes], most: int = 1000) -> int:
    """How many of these the session takes; half-way it moves."""
    for number in range(most):
        stage.say(one(number))
        if number == LIMITS.resets // 2:
            stage.move()
        if stage.session.dead:
            assert stage.goaway()[1] == CALM
            return number
    return most


USELESS: dict[str, Callable[[int], bytes]] = {
    "PING": lambda _: frame.ping(b"12345678"),
    "answers to PING": lambda _: frame.ping(b"12345678", ack=True),
    "SETTINGS": lambda _: frame.settings([]),
    "acknowledgements": lambda _: frame.SETTINGS_ACK,
    "small WINDOW_UPDATE": lambda _: frame.window_update(0, 1),
    "small WINDOW_UPDATE of a stream": lambda _: frame.window_update(OPEN, 1),
    "empty DATA": lambda _: frame.frame(DATA, 0, OPEN),
    "padded empty DATA": lambda _: frame.frame(DATA, frame.PADDED, OPEN, b"\1\0"),
    "PRIORITY": lambda number: frame.frame(frame.PRIORITY, 0, 2 * number + 1, bytes(5)),
    "PRIORITY_UPDATE": lambda _: frame.frame(frame.PRIORITY_UPDATE, 0, 0, bytes(4)),
    "unknown frames": lambda number: frame.frame(100 + number % 100, 0, 0, b"x"),
    "GOAWAY": lambda _: frame.goaway(0, 0),
    "RST_STREAM of closed streams": lambda _: frame.rst_stream(1, 8),
}


@pytest.mark.parametrize("one", USELESS.values(), ids=USELESS.keys())
def test_frames_of_no_use(one: Callable[[int], bytes]) -> None:
    stage = server()
    stage.request(OPEN, POST, end=False)
    if one(0) == frame.rst_stream(1, 8):
        stage.session.reset(1, CANCEL)
    taken = flood(stage, one)
    assert LIMITS.frames // 2 <= taken <= LIMITS.frames + 10


def test_settings_with_many_values_cost_more() -> None:
    stage = server()
    assert flood(stage, lambda _: frame.settings([(99, 1)] * 50)) < 10
    stage = server()
    stage.say(frame.settings([(99, 1)] * 65))
    assert stage.goaway()[1] == CALM


def test_window_size_that_goes_up_and_down_is_applied_once_a_frame() -> None:
    """Its cost is one look at all streams, however often one frame names it."""
    stage = server()
    for stream_id in range(1, 100, 2):
        stage.request(stream_id)
    stage.say(frame.settings([(frame.INITIAL_WINDOW_SIZE, value) for value in (0, 2**31 - 1) * 16 + (70000,)]))
    assert {stream.send_window for stream in stage.session.streams.values()} == {70000}


def test_time_and_work_make_up_for_frames() -> None:
    stage = server()
    for _ in range(20):
        stage.now += 10
        for _ in range(90):
            stage.say(frame.ping(b"12345678"))
    assert not stage.session.dead
    stage = server()
    for stream_id in range(1, 4001, 2):  # two windows and a PING for each request, as real peers have it
        stage.request(stream_id)
        stage.session.send_headers(stream_id, OK, True)
        stage.say(frame.window_update(0, 100), frame.window_update(stream_id, 100), frame.ping(b"12345678"))
    assert not stage.session.dead
    assert flood(stage, USELESS["PING"]) <= LIMITS.frames + 10  # what was earned is not saved up


def test_rapid_reset() -> None:
    """CVE-2023-44487."""
    stage = server()
    taken = flood(stage, lambda number: stage.heads(2 * number + 1, GET) + frame.rst_stream(2 * number + 1, 8))
    assert taken == LIMITS.resets
    assert len(stage.calls) == 2 * taken + 3


FAULTS: dict[str, Callable[[int], bytes]] = {
    "window update of nothing": lambda stream_id: frame.window_update(stream_id, 0),
    "window too large": lambda stream_id: frame.window_update(stream_id, frame.LARGEST_WINDOW),
    "body behind the end": lambda stream_id: frame.frame(DATA, 0, stream_id, b"x"),
    "trailers behind the end": lambda stream_id: frame.frame(HEADERS, END_HEADERS | END_STREAM, stream_id, b""),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_resets_that_the_peer_provokes_count_too(fault: Callable[[int], bytes]) -> None:
    """CVE-2025-8671, "MadeYouReset"."""
    stage = server()
    assert flood(stage, lambda number: stage.heads(2 * number + 1, GET) + fault(2 * number + 1)) == LIMITS.resets


def test_malformed_requests_count_too() -> None:
    stage = server()
    assert flood(stage, lambda number: stage.heads(2 * number + 1, GET[1:])) == LIMITS.resets


def test_requests_over_the_limit_count_too() -> None:
    stage = server(header_list=200)
    assert flood(stage, lambda n: stage.heads(2 * n + 1, [*GET, (b"x", b"y" * 200)])) == LIMITS.resets


def test_streams_beyond_their_number_count_too() -> None:
    stage = server(streams=5)
    assert flood(stage, lambda number: stage.heads(2 * number + 1, GET)) == LIMITS.resets + 5


def test_client_that_does_not_know_our_limit_yet_is_forgiven() -> None:
    stage = server(fresh=True, streams=5)
    stage.say(frame.PREFACE, frame.settings([]))
    for number in range(100):
        stage.request(2 * number + 1)
    assert not stage.session.dead
    assert len(stage.session.streams) == 5
    taken = flood(stage, lambda number: stage.heads(2 * number + 1001, GET))  # and never does
    assert taken == LIMITS.resets


def test_body_of_closed_streams_counts_too() -> None:
    """Each is answered by RST_STREAM once."""
    stage = server()
    for stream_id in range(1, 400, 2):
        stage.request(stream_id)
        stage.session.send_headers(stream_id, OK, True)
    assert flood(stage, lambda number: frame.frame(DATA, 0, 2 * number + 1, b"x")) == LIMITS.resets


def test_resets_over_time_are_what_clients_do() -> None:
    stage = server()
    for number in range(200):
        stage.now += 1.5
        stage.say(stage.heads(2 * number + 1, GET), frame.rst_stream(2 * number + 1, 8))
    assert not stage.session.dead


def test_server_may_reset_what_we_asked_for() -> None:
    stage = client()
    for _ in range(500):
        stage.say(frame.rst_stream(stage.call(), 7))
    assert not stage.session.dead


def test_own_resets_of_the_owner_do_not_count() -> None:
    stage = server()
    for stream_id in range(1, 1000, 2):
        stage.request(stream_id)
        stage.session.reset(stream_id, CANCEL)
    assert not stage.session.dead


def test_continuation_flood_by_number() -> None:
    """VU#421644: CONTINUATION without end."""
    stage = server()
    stage.say(frame.frame(HEADERS, 0, 1, b"\x82"))
    assert flood(stage, lambda _: frame.frame(CONTINUATION, 0, 1, b"\x84")) <= LIMITS.continuations
    assert stage.calls == [("broken", CALM)]


def test_continuation_flood_by_size() -> None:
    stage = server(header_list=20000)
    stage.say(frame.frame(HEADERS, 0, 1, b"\x00\x01a" + b"\x7f\xff\xff\x7f"))
    assert flood(stage, lambda _: frame.frame(CONTINUATION, 0, 1, b"x" * 16000)) == 2
    assert not stage.session.block


def test_interim_responses_without_end() -> None:
    stage = client()
    stage.call()
    block = frame.headers(b"\x08\x03103", 1, end=False, most=100)
    assert flood(stage, lambda _: block) <= LIMITS.frames + 10


def test_bomb_of_header_compression() -> None:
    stage = server()
    stage.request(1, [*GET, (b"x", b"y" * 4000)])
    stage.say(frame.frame(HEADERS, END_HEADERS, 3, b"\xbe" * 16000))
    assert stage.goaway() == (3, CALM)


def stalled(stage: Stage) -> None:
    stage.session.check(stage.now)
    stage.now += LIMITS.stall / 2
    stage.session.check(stage.now)
    stage.move()
    assert not stage.session.dead
    stage.now += LIMITS.stall
    stage.session.check(stage.now)


def test_windows_that_stay_shut() -> None:
    stage = server()
    for stream_id in (1, 3):
        stage.request(stream_id)
        stage.session.send_headers(stream_id, OK, False)
        stage.session.send_body(stream_id, b"x" * 70000, True)
    stalled(stage)
    assert stage.goaway() == (3, CALM)


def test_stream_whose_window_stays_shut_costs_no_others() -> None:
    stage = server()
    for stream_id in (1, 3):
        stage.request(stream_id)
        stage.session.send_headers(stream_id, OK, False)
    stage.session.send_body(1, b"x" * 70000, True)
    stage.session.take()
    stalled(stage)
    assert stage.resets() == [(1, "CANCEL")]
    assert stage.calls[-1] == ("reset", 1, "CANCEL")


def test_stream_that_moves_is_left_alone() -> None:
    stage = server()
    stage.request(1)
    stage.session.send_headers(1, OK, False)
    stage.session.send_body(1, b"x" * 70000, True)
    for _ in range(5):
        stage.now += LIMITS.stall + 1
        stage.session.check(stage.now)
        stage.say(frame.window_update(0, 10), frame.window_update(1, 10))
    assert not stage.session.dead
    stage.say(frame.window_update(0, 10**5), frame.window_update(1, 10**5))
    stage.session.check(stage.now)
    assert stage.session.queued == 0


def test_nothing_else_is_touched() -> None:
    """One connection's floods are its own."""
    stage, other = server(), server()
    flood(stage, USELESS["PING"])
    other.request(1)
    assert other.calls == [("headers", 1, GET, True)]


def test_bucket_fills_to_its_brim() -> None:
    bucket = Bucket(10, 1.0)
    assert all(bucket.spend(1, 100.0) for _ in range(10))
    assert not bucket.spend(1, 100.0)
    assert bucket.spend(1, 101.5)
    assert not bucket.spend(1, 101.5)
    assert bucket.spend(10, 1000.0)
    assert not bucket.spend(1, 1000.0)
    assert bucket.spend(3, 1000.0, earned=5)
    other = Bucket(10, 1.0)
    other.load(bucket.save(1001.0), 51.0)
    assert other.left == bucket.left
    assert other.spend(3, 51.0)


def test_defaults_are_more_than_what_browsers_do() -> None:
    limits = Limits()
    assert limits.resets >= 2 * 128
    assert limits.frames >= 1000
