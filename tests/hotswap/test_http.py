"""The parser of requests, on anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.http import BadRequest, EventStream, HttpError, Request, complete_head, parse_head, response_head

PIECES = st.sampled_from(
    [
        b"GET",
        b"POST",
        b" ",
        b"/status",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b":",
        b"Host",
        b"Content-Length",
        b"1",
    ]
)


def parsed(data: bytes) -> tuple[Request, int] | HttpError:
    try:
        complete_head(data)
        return parse_head(data, None)
    except HttpError as error:
        return error


@given(st.one_of(st.binary(), st.lists(PIECES).map(b"".join)))
def test_anything_is_a_request_or_an_answerable_error(data: bytes) -> None:
    result = parsed(data)
    if isinstance(result, HttpError):
        assert response_head(result.status, "application/json", 0).startswith(b"HTTP/1.1 ")
    else:
        request, length = result
        assert request.path.startswith("/")
        assert 0 <= length <= 1024 * 1024


@given(st.integers(min_value=0, max_value=200))
def test_a_head_is_complete_at_its_end_and_not_before(cut: int) -> None:
    data = b"GET /status?x=1 HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n"
    assert complete_head(data[:cut]) is (cut >= len(data))


def test_a_request_is_what_it_says() -> None:
    head = b"POST /a%20b?x=1&y=%2F&x=2 HTTP/1.0\r\nHOST: h\r\nContent-Length: 3\r\nX-Empty:"
    request, length = parse_head(head, 5)
    assert (request.method, request.path, request.query) == ("POST", "/a b", {"x": "2", "y": "/"})
    assert request.headers == {"host": "h", "content-length": "3", "x-empty": ""}
    assert (request.uid, length) == (5, 3)


def test_a_deep_body_is_refused_not_followed() -> None:
    request = Request("POST", "/upgrade", {}, {}, None)
    request.body = b"[" * 100_000
    with pytest.raises(BadRequest):
        request.json(list[object])


def test_no_body_is_an_empty_object() -> None:
    assert Request("POST", "/drain", {}, {}, None).json(dict[str, int]) == {}


def test_a_stream_nobody_reads_is_broken_off_not_buffered_without_end() -> None:
    stream = EventStream()
    for number in range(5000):
        stream.send({"number": number})
    assert stream.broken
    assert stream.take() == b""
