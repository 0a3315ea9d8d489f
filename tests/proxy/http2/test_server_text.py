"""Heads between HTTP/1.1 and endpoints of HTTP/2: what is said, and what concerns one hop alone."""

from __future__ import annotations

import pytest

from proxy.http1.message import CHUNKED
from proxy.http2.hpack import Never
from proxy.http2.server_text import request_fields, response_text, switching_text

TE = (b"te", b"trailers")
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def asked(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> list[tuple[bytes, bytes]]:
    return request_fields(b"\r\n".join([start, b"Host: a", *lines]), secure=False).fields


def test_the_request_line_and_host_are_pseudo_fields_and_first() -> None:
    request = request_fields(b"PUT /a?b=c HTTP/1.1\r\nX: 1\r\nHOST: a.example:81", secure=True)
    assert request.fields == [
        (b":method", b"PUT"),
        (b":scheme", b"https"),
        (b":path", b"/a?b=c"),
        (b":authority", b"a.example:81"),
        (b"x", b"1"),
        TE,
    ]
    assert (request.length, request.key) == (0, b"")


def test_an_empty_host_is_no_authority() -> None:
    names = [name for name, _ in request_fields(b"GET / HTTP/1.1\r\nHost: ", secure=False).fields]
    assert names == [b":method", b":scheme", b":path", b"te"]


def test_options_of_the_server_itself() -> None:
    assert (b":path", b"*") in asked(start=b"OPTIONS * HTTP/1.1")


@pytest.mark.parametrize(
    "line",
    [b"Connection: close", b"Keep-Alive: 5", b"Proxy-Connection: keep-alive", b"TE: gzip", b"Upgrade: h9"],
)
def test_what_concerns_one_hop_is_left_out(line: bytes) -> None:
    assert asked(line) == asked()


def test_names_are_in_lower_case_and_values_are_as_they_were() -> None:
    fields = asked(b"X-Mixed: \t Mixed Value \t", b"Cookie: a=1; b=2", b"X-Empty:", b"x-latin: \xe9")
    assert fields[4:] == [
        (b"x-mixed", b"Mixed Value"),
        (b"cookie", b"a=1; b=2"),
        (b"x-empty", b""),
        (b"x-latin", b"\xe9"),
        TE,
    ]


def test_lengths() -> None:
    length = request_fields(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12", secure=False)
    assert length.length == 12
    assert (b"content-length", b"12") in length.fields
    chunks = request_fields(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", secure=False)
    assert chunks.length == CHUNKED
    assert chunks.fields[4:] == [TE]


def test_a_websocket_is_an_extended_connect() -> None:
    lines = b"Connection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13" % KEY
    request = request_fields(b"GET /chat HTTP/1.1\r\nHost: a\r\n" + lines, secure=False)
    assert request.fields == [
        (b":method", b"CONNECT"),
        (b":scheme", b"http"),
        (b":path", b"/chat"),
        (b":authority", b"a"),
        (b":protocol", b"websocket"),
        (b"sec-websocket-version", b"13"),
    ]
    assert (request.length, request.key) == (CHUNKED, KEY)


@pytest.mark.parametrize("lines", [b"Upgrade: websocket", b"Upgrade: other\r\nSec-WebSocket-Key: " + KEY])
def test_what_is_no_websocket_is_an_ordinary_request(lines: bytes) -> None:
    request = request_fields(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n" + lines, secure=False)
    assert request.fields[0] == (b":method", b"GET")
    assert (request.length, request.key) == (0, b"")


def test_what_no_table_may_hold() -> None:
    fields = request_fields(b"GET /s HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2", secure=False, sealed=(b"x-b", b":path"))
    assert [field[0] for field in fields.fields if isinstance(field, Never)] == [b":path", b"x-b"]


# ---- responses ----


@pytest.mark.parametrize(
    ("fields", "ended", "bodyless", "text", "wraps"),
    [
        ([(b":status", b"200")], False, False, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", True),
        ([(b":status", b"200")], True, False, b"HTTP/1.1 200 OK\r\ncontent-length: 0", False),
        ([(b":status", b"200")], False, True, b"HTTP/1.1 200 OK", False),
        (
            [(b":status", b"200"), (b"content-length", b"5")],
            False,
            False,
            b"HTTP/1.1 200 OK\r\ncontent-length: 5",
            False,
        ),
        ([(b":status", b"200"), (b"content-length", b"5")], True, True, b"HTTP/1.1 200 OK\r\ncontent-length: 5", False),
        ([(b":status", b"204")], True, False, b"HTTP/1.1 204 No Content", False),
        ([(b":status", b"304")], False, False, b"HTTP/1.1 304 Not Modified", False),
        ([(b":status", b"100")], False, False, b"HTTP/1.1 100 Continue", False),
        ([(b":status", b"103"), (b"link", b"</a>")], False, False, b"HTTP/1.1 103 Early Hints\r\nlink: </a>", False),
        ([(b":status", b"299")], True, False, b"HTTP/1.1 299 \r\ncontent-length: 0", False),
    ],
)
def test_heads_of_responses(
    fields: list[tuple[bytes, bytes]], ended: bool, bodyless: bool, text: bytes, wraps: bool
) -> None:
    assert response_text(fields, ended=ended, bodyless=bodyless) == (text + b"\r\n\r\n", wraps)


def test_a_websocket_that_was_taken() -> None:
    """The example of RFC 6455 section 1.3."""
    text = switching_text([(b":status", b"200"), (b"content-length", b"0"), (b"sec-websocket-protocol", b"chat")], KEY)
    assert text == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n\r\n"
    )
