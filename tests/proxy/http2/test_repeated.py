"""What is remembered of heads that come again is what they would become anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.errors import BadMessage
from proxy.http1.parser import parse_request
from proxy.http2 import frame
from proxy.http2.heads import REQUEST, Head, read
from proxy.http2.hpack import BLOCK_KEY, BLOCKS, Encoder, Field, Never
from proxy.http2.text import MAX_REMEMBERED, request_head, request_text
from tests.proxy.http1.scene import web
from tests.proxy.http2.browser import Browser, speaking
from tests.proxy.http2.scene import GET, OK, server
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket

FIELDS = [*GET, (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
WEBSOCKET = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def world(moving: bool) -> World:
    return World(speaking(web()), moving=moving)


def head(fields: list[Field] = FIELDS) -> Head:
    return read(fields, REQUEST, True)


def test_a_request_is_read_once() -> None:
    repeated = head()
    made = request_head(repeated, 100, True)
    assert made == parse_request(request_text(head(), True), 100)
    assert request_head(repeated, 100, True) is made
    assert request_head(head(), 100, True) is not made


def test_one_with_a_body_is_another() -> None:
    repeated = head()
    assert [request_head(repeated, 100, ended).length for ended in (True, False, True)] == [0, -1, 0]


def test_limits_that_change_are_kept() -> None:
    repeated = head()
    request_head(repeated, 3, True)
    for _ in range(2):
        with pytest.raises(BadMessage, match="too many"):
            request_head(repeated, 2, True)


def test_a_tunnel_gets_a_key_of_its_own_each_time() -> None:
    repeated = head(WEBSOCKET)
    first, second = (request_head(repeated, 100, False) for _ in range(2))
    assert first.upgrade == b"websocket"
    assert first.raw != second.raw


def test_a_large_one_is_read_again() -> None:
    """Its block may be short: references to one field, 32 of which would be 2 MB a connection."""
    repeated = head([*FIELDS, (b"x-large", b"y" * MAX_REMEMBERED)])
    assert repeated.large
    assert request_head(repeated, 100, True) is not request_head(repeated, 100, True)


def test_lines_that_nobody_else_has_make_a_large_one() -> None:
    often = [*FIELDS, *[(b"authorization", b"y" * 100)] * 20]
    assert head(often).large
    assert not head(FIELDS).large


def test_a_session_forgets_a_large_one() -> None:
    stage = server()
    fields = [*GET, (b"x-large", b"y" * MAX_REMEMBERED)]
    for stream_id in range(1, 9, 2):
        stage.request(stream_id, fields)
    assert not stage.session.known
    assert [call[2] for call in stage.calls] == [fields] * 4


def test_a_session_that_hears_ever_new_ones_remembers_some() -> None:
    stage = server()
    stage.say(frame.headers(b"\x82\x86\x41\x01a\x84", 1, end=True, most=16384))
    numbers = [*range(100, 300), *[1000] * 40]
    for stream_id, number in enumerate(numbers, start=1):
        block = b"\x82\x86\xbe\x04\x05/%04d" % number  # the path does not enter the table
        stage.say(frame.headers(block, 2 * stream_id + 1, end=True, most=16384))
        stage.session.send_headers(2 * stream_id + 1, OK, True)
    heads = [call[2] for call in stage.calls]
    assert len(heads) == 1 + len(numbers)
    assert heads[-1] is heads[-2]
    assert len({id(one) for one in heads[-40:]}) < 20


# ---- blocks of responses ----

ANSWERS: dict[bytes, list[Field]] = {
    b"plain": [*OK, (b"content-length", b"5")],
    b"indexed": [*OK, (b"server", b"s"), (b"content-type", b"text/plain")],
    b"other": [*OK, (b"server", b"other")],
    b"large": [*OK, (b"x-large", b"y" * 1500)],
    b"secret": [*OK, (b"set-cookie", b"id=1")],
    b"never": [*OK, Never(b"server", b"s")],
}


def again(encoder: Encoder, key: bytes) -> bytes:
    return encoder.blocks.get(key) or encoder.encode(ANSWERS[key], key)


@given(st.lists(st.sampled_from([*ANSWERS, 0, 100, 4096])))
def test_blocks_that_come_again_are_what_they_would_be_anew(steps: list[bytes | int]) -> None:
    remembering, forgetful = Encoder(), Encoder()
    for step in steps:
        if isinstance(step, int):
            remembering.permit(step)
            forgetful.permit(step)
        else:
            assert again(remembering, step) == forgetful.encode(ANSWERS[step])
    assert remembering.save() == forgetful.save()


def test_blocks_last_as_long_as_the_table() -> None:
    encoder = Encoder()
    again(encoder, b"indexed")
    assert not encoder.blocks, "it entered fields"
    block = again(encoder, b"indexed")
    assert encoder.blocks == {b"indexed": block}
    again(encoder, b"plain")
    assert len(encoder.blocks) == 2
    again(encoder, b"other")
    assert not encoder.blocks
    again(encoder, b"plain")
    encoder.load(encoder.save())
    assert not encoder.blocks


@pytest.mark.parametrize("key", [b"secret", b"never"])
def test_blocks_with_secrets_are_not_remembered(key: bytes) -> None:
    encoder = Encoder()
    for _ in range(3):
        again(encoder, key)
    assert not encoder.blocks


def test_what_an_encoder_remembers_is_bounded() -> None:
    encoder = Encoder()
    encoder.encode(OK, b"x" * (BLOCK_KEY + 1))
    assert not encoder.blocks
    for number in range(3 * BLOCKS):
        encoder.encode(OK, b"%d" % number)
        assert len(encoder.blocks) <= BLOCKS


def test_a_session_answers_again() -> None:
    stage = server()
    for stream_id in (1, 3):
        stage.request(stream_id)
    session = stage.session
    assert not session.send_again(1, b"key", end=True)
    session.send_headers(1, OK, True, b"key")
    before = stage.frames()
    assert session.send_again(3, b"key", end=True)
    assert [(kind, flags, block) for kind, flags, _, block in stage.frames()] == [
        (kind, flags, block) for kind, flags, _, block in before
    ]
    assert not session.streams
    assert session.send_again(3, b"key", end=True), "nobody is there, and it is of no interest"
    assert stage.frames() == []


# ---- all of it ----


def served(world: World, browser: Browser, server: Socket | None, *, end: bool) -> tuple[bytes, Socket]:
    """What the server gets of a request."""
    stream = browser.ask(end=end)
    if server is None:
        server = world.dialled()
        server.accept()
    sent: bytes = server.take()
    if not end:
        browser.say(stream, b"abc", end=True)
        sent += server.take()
    server.send(ANSWER)
    assert browser.heard(stream).body == b"hello"
    return sent, server


def test_requests_that_come_again_arrive_alike(world: World) -> None:
    browser = Browser(world)
    server = None
    sent = []
    for end in (True, True, True, True, False, True, False):
        text, server = served(world, browser, server, end=end)
        sent.append((end, text))
    assert len(set(sent)) == 2
    assert sent[4][1].endswith(b"3\r\nabc\r\n0\r\n\r\n")
