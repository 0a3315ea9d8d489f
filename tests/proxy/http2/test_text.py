"""What a header list of HTTP/2 is as the head of a request of HTTP/1.1."""

from __future__ import annotations

import pytest

from proxy.http1.errors import BadMessage
from proxy.http2.heads import REQUEST, Head, read
from proxy.http2.hpack import Field
from proxy.http2.text import request_text
from tests.proxy.http2.scene import GET, POST

METHOD, SCHEME, AUTHORITY, PATH = GET


def head(fields: list[Field]) -> Head:
    return read(fields, REQUEST, True)


TEXTS = {
    "plain": (GET, b"GET / HTTP/1.1\r\nhost: a.example"),
    "any order": ([PATH, AUTHORITY, SCHEME, METHOD], b"GET / HTTP/1.1\r\nhost: a.example"),
    "fields in their order": (
        [*GET, (b"x-b", b"1"), (b"x-a", b""), (b"x-b", b"2")],
        b"GET / HTTP/1.1\r\nhost: a.example\r\nx-b: 1\r\nx-a: \r\nx-b: 2",
    ),
    "host": ([METHOD, SCHEME, PATH, (b"host", b"b")], b"GET / HTTP/1.1\r\nhost: b"),
    "host as well": ([*GET, (b"host", b"A.EXAMPLE")], b"GET / HTTP/1.1\r\nhost: a.example"),
    "cookies": (
        [*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")],
        b"GET / HTTP/1.1\r\nhost: a.example\r\nx: y\r\ncookie: a=1; b=2",
    ),
    "of one hop": ([*GET, (b"te", b"trailers")], b"GET / HTTP/1.1\r\nhost: a.example"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_request_without_a_body(name: str) -> None:
    fields, text = TEXTS[name]
    assert request_text(head(fields), ended=True) == text


@pytest.mark.parametrize("name", TEXTS)
def test_a_body_of_unknown_length_is_chunked(name: str) -> None:
    fields, text = TEXTS[name]
    assert request_text(head(fields), ended=False) == text + b"\r\ntransfer-encoding: chunked"


@pytest.mark.parametrize("ended", [False, True])
def test_a_body_of_known_length_is_not(ended: bool) -> None:
    fields = [*POST, (b"content-length", b"0"), (b"x", b"y")]
    assert request_text(head(fields), ended=ended) == b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\nx: y"


def test_websocket_is_an_upgrade() -> None:
    text = request_text(head([(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]), ended=False)
    assert text.startswith(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
    with pytest.raises(BadMessage, match="not tunnelled"):
        request_text(head([(b":method", b"CONNECT"), (b":protocol", b"other"), *GET[1:]]), ended=False)
