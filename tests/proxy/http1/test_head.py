"""The parsers of heads alone, both of them: every case of the table, however the stream is cut."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.http1 import fields, head, message
from proxy.http1.errors import BadMessage
from proxy.http1.message import CHUNKED, UNTIL_CLOSE
from tests.proxy.http1.cases import BAD_REQUESTS, BAD_RESPONSES, GOOD_REQUESTS, Bad, BadResponse, Good, get, response
from tests.proxy.http1.parsers import BOTH, implementation

LIMIT = 32768
MAX_FIELDS = 100


@pytest.fixture(params=BOTH)
def parser(request: pytest.FixtureRequest) -> Any:
    return implementation(request.param)


def read_request(parser: Any, pieces: list[bytes]) -> message.RequestHead:
    """What a session does, without one. An incomplete head is an error of the test."""
    buffer = b""
    scanned = 0
    for piece in pieces:
        buffer += piece
        end = parser.find_end(buffer, scanned, LIMIT)
        if end >= 0:
            read: message.RequestHead = parser.parse_request(buffer[:end], MAX_FIELDS)
            return read
        scanned = len(buffer)
    pytest.fail("neither parsed nor refused")


def single_bytes(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


@pytest.mark.parametrize("case", BAD_REQUESTS, ids=lambda case: case.name)
def test_bad_request_is_refused_with_its_status(parser: Any, case: Bad) -> None:
    for pieces in ([case.request], [case.request + get(b"Host: next")]):
        with pytest.raises(BadMessage) as refused:
            read_request(parser, pieces)
        assert refused.value.status == case.status


@pytest.mark.parametrize(
    "case", [case for case in BAD_REQUESTS if len(case.request) < 2000], ids=lambda case: case.name
)
def test_bad_request_is_refused_byte_by_byte(parser: Any, case: Bad) -> None:
    with pytest.raises(BadMessage) as refused:
        read_request(parser, single_bytes(case.request))
    assert refused.value.status == case.status


@pytest.mark.parametrize("case", GOOD_REQUESTS, ids=lambda case: case.name)
def test_good_request_is_forwarded_as_it_is(parser: Any, case: Good) -> None:
    request = case.request.lstrip(b"\r\n")
    for pieces in ([request], [request + get(b"Host: next")], single_bytes(request)):
        assert read_request(parser, pieces).raw == case.forwarded


@pytest.mark.parametrize(
    "case", [case for case in BAD_RESPONSES if "tunnel" not in case.name], ids=lambda case: case.name
)
def test_bad_response_is_refused(parser: Any, case: BadResponse) -> None:
    with pytest.raises(BadMessage):
        parser.parse_response(case.response[: parser.find_end(case.response, 0, 65536)], b"GET", 256)


@pytest.mark.parametrize(
    ("raw", "method", "length", "keep"),
    [
        (response(b"Content-Length: 5"), b"GET", 5, True),
        (response(b"Content-Length: 5"), b"HEAD", 0, True),
        (response(b"Transfer-Encoding: chunked"), b"GET", CHUNKED, True),
        (response(b"Transfer-Encoding: chunked"), b"HEAD", 0, True),
        (response(), b"GET", UNTIL_CLOSE, False),
        (response(start=b"HTTP/1.1 204 No Content"), b"GET", 0, True),
        (response(b"Content-Length: 9", start=b"HTTP/1.1 304 Not Modified"), b"GET", 0, True),
        (response(b"Content-Length: 5", b"Connection: close"), b"GET", 5, False),
        (response(b"Content-Length: 5", start=b"HTTP/1.0 200 OK"), b"GET", 5, False),
        (response(b"Content-Length: 5", b"Connection: Keep-Alive", start=b"HTTP/1.0 200 OK"), b"GET", 5, True),
        (response(b"Connection: keep-alive"), b"GET", UNTIL_CLOSE, False),
    ],
)
def test_response_framing(parser: Any, raw: bytes, method: bytes, length: int, keep: bool) -> None:
    parsed = parser.parse_response(raw[:-4], method, 256)
    assert (parsed.length, parsed.keep) == (length, keep)


def test_response_lines_of_this_hop_are_left_out(parser: Any) -> None:
    raw = response(b"Connection: close, x-a", b"X-A: 1", b"Keep-Alive: timeout=5", b"Content-Length: 0", b"x-b: 1")[:-4]
    assert parser.parse_response(raw, b"GET", 256).raw == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-b: 1"


def test_no_content_states_no_length(parser: Any) -> None:
    raw = response(b"Content-Length: 5", start=b"HTTP/1.1 204 No Content")[:-4]
    assert parser.parse_response(raw, b"GET", 256).raw == b"HTTP/1.1 204 No Content"


@pytest.mark.parametrize(
    ("line", "forwarded"),
    [
        (b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 200 ", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 799 \xe9 own", b"HTTP/1.1 799 \xe9 own"),
    ],
)
def test_status_line_goes_on_as_http_1_1(parser: Any, line: bytes, forwarded: bytes) -> None:
    assert parser.parse_response(line + b"\r\nContent-Length: 0", b"GET", 256).raw.startswith(forwarded + b"\r\n")


@pytest.mark.parametrize(
    ("lines", "start", "keep"),
    [
        ([], b"GET / HTTP/1.1", True),
        ([b"Connection: close"], b"GET / HTTP/1.1", False),
        ([b"Connection: foo, CLOSE"], b"GET / HTTP/1.1", False),
        ([b"Connection: keep-alive", b"Connection: close"], b"GET / HTTP/1.1", False),
        ([], b"GET / HTTP/1.0", False),
        ([b"Connection: Keep-Alive"], b"GET / HTTP/1.0", True),
        ([b"Connection: Keep-Alive, close"], b"GET / HTTP/1.0", False),
    ],
)
def test_who_keeps_the_connection(parser: Any, lines: list[bytes], start: bytes, keep: bool) -> None:
    assert parser.parse_request(get(b"Host: a", *lines, start=start)[:-4], MAX_FIELDS).keep is keep


def test_expectation_of_http_1_0_is_ignored(parser: Any) -> None:
    parsed = parser.parse_request(get(b"Host: a", b"Expect: 100-continue", start=b"POST / HTTP/1.0")[:-4], MAX_FIELDS)
    assert not parsed.expects
    assert b"Expect" not in parsed.raw


def test_target_and_lines_are_those_that_are_forwarded(parser: Any) -> None:
    lines = [b"Host: b", b"Connection: x-a", b"X-A: 1", b"B: 2"]
    read = parser.parse_request(get(*lines, start=b"GET http://a/b?c HTTP/1.1")[:-4], MAX_FIELDS)
    assert (read.target, read.path) == (b"/b?c", b"/b")
    assert read.lines == [b"GET /b?c HTTP/1.1", b"Host: a", b"B: 2"]


def test_memories_are_bounded() -> None:
    for n in range(3 * fields.MAX_MEMO_LINES):
        request = get(b"Host: a%d" % n, b"Connection: a%d" % n, start=b"GET /%d HTTP/1.1" % n)
        head.parse_request(request[:-4], MAX_FIELDS)
        head.parse_response(b"HTTP/1.1 200 %d" % n, b"GET", 256)
    assert len(fields.LINES) <= fields.MAX_MEMO_LINES
    assert len(fields.OPTIONS) <= fields.MAX_MEMO_LINES
    assert len(head.REQUEST_LINES) <= fields.MAX_MEMO_LINES
    assert len(head.STATUS_LINES) <= fields.MAX_MEMO_LINES


def test_long_lines_are_not_remembered() -> None:
    line = b"X-Long: " + b"a" * fields.MAX_MEMO_LINE
    head.parse_request(get(b"Host: a", line)[:-4], MAX_FIELDS)
    assert line not in fields.LINES
