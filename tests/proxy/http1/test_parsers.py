"""The parser of heads in C against its twin in Python: the same result, or the same refusal, whatever comes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http1 import fields, parser
from proxy.http1.doctor import http1
from tests.kit.companion import ROOT
from tests.proxy.http1.cases import BAD_REQUESTS, BAD_RESPONSES, CHUNKED, GOOD_REQUESTS, OK, H, get, response
from tests.proxy.http1.parsers import PYTHON, C, implementation, outcome

LIMIT = 4000
MAX_FIELDS = 20

BROWSER = get(
    b"Host: svc.example.com:8080",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    b"Accept: */*;q=0.8",
    b"Cookie: sid=0123; theme=dark",
    b"Connection: keep-alive",
    b"X-Forwarded-For: 192.0.2.7",
    b"X-Forwarded-Proto: https",
    b"X-Request-Id: 7",
    start=b"GET /api/v1/items?id=1 HTTP/1.1",
)
UPLOAD = get(
    H, b"content-length: 17", b"Expect: 100-continue", b"Keep-Alive: 5", b"TE: trailers", start=b"POST /a HTTP/1.1"
)
TUNNEL = get(H, b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Proxy-Connection: x")
PLAIN_REQUESTS = [BROWSER, UPLOAD, TUNNEL, get(H), get(H, CHUNKED, start=b"PUT /a HTTP/1.1"), get(b"Host: [::1]:80")]
PAGE = response(
    b"Server: s", b"Content-Type: text/html", b"Content-Length: 1024", b"Connection: keep-alive", b"ETag: x"
)
PLAIN_RESPONSES = [
    PAGE,
    response(CHUNKED),
    response(b"Connection: close"),
    response(b"Content-Length: 3", start=b"HTTP/1.1 204 No Content"),
    response(b"Connection: upgrade", b"Upgrade: websocket", start=b"HTTP/1.1 101 Switching Protocols"),
    response(b"Content-Length: 0", start=b"HTTP/1.1 304 "),
]
REQUESTS = [case.request for case in BAD_REQUESTS] + [case.request for case in GOOD_REQUESTS] + PLAIN_REQUESTS
RESPONSES = [case.response for case in BAD_RESPONSES] + PLAIN_RESPONSES
METHODS = (b"GET", b"HEAD", b"POST", b"")
NAMES = [*fields.MARKS, *(name.title() for name in fields.MARKS), b"Via", b"X-A", b"X", b"", b"hosts"]
VALUES = [
    *(b"a", b"a:80", b"a:123456", b"[::1]", b"[::1", b"[]", b"[::1]:80", b"a:b", b"a b", b"", b"0", b"5", b"17", b"+5"),
    *(b"007", b"5, 5", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"9" * 20),
    *(b"chunked", b"CHUNKED", b"gzip, chunked", b"chunked, chunked", b"identity", b"close", b"Keep-Alive", b"upgrade"),
    *(b"keep-alive, Upgrade", b"close, x-a", b",, close ,", b"close;", b"close keep-alive", b"websocket", b"h2c"),
    *(
        b"100-continue",
        b"100-Continue",
        b"192.0.2.1",
        b"https",
        b"a\tb",
        b"\x80\xff",
        b"a\0",
        b"a\rb",
        b"a\nb",
        b"\x7f",
    ),
]


def named(text: bytes) -> str:
    """The id of a parameter."""
    return repr(text[:40])


def head_of(message: bytes) -> bytes:
    """Without what ends it, and without what follows."""
    return message.partition(b"\r\n\r\n")[0]


def agree(function: str, *arguments: Any) -> None:
    assert outcome(C, function, *arguments) == outcome(PYTHON, function, *arguments)


def agree_on_all(text: bytes) -> None:
    """As a request, as a response, and as what came of one of them so far."""
    for raw in (text, head_of(text)):
        agree("parse_request", raw, MAX_FIELDS)
        for method in METHODS:
            agree("parse_response", raw, method, MAX_FIELDS)
    for limit in (0, 30, LIMIT):
        for scanned in {0, len(text) // 2, len(text)}:
            agree("find_end", text, scanned, limit)


# ---- what is known to be special ----


@pytest.mark.parametrize("text", REQUESTS + RESPONSES, ids=named)
def test_they_agree_on_every_case_of_the_table(text: bytes) -> None:
    agree_on_all(text)


@pytest.mark.parametrize("text", [BROWSER, UPLOAD, TUNNEL, PAGE, *PLAIN_RESPONSES[1:]], ids=named)
def test_they_agree_on_every_byte_in_every_place(text: bytes) -> None:
    raw = head_of(text)
    for at in range(len(raw)):
        for byte in b"\0\t\n\r !#,/09:;?@AZ[]az~\x7f\x80\xff" if at % 7 else range(256):
            changed = raw[:at] + bytes((byte,)) + raw[at + 1 :]
            agree("parse_request", changed, MAX_FIELDS)
            agree("parse_response", changed, b"GET", MAX_FIELDS)


@pytest.mark.parametrize("text", [BROWSER, UPLOAD, PAGE], ids=named)
def test_they_agree_wherever_it_ends(text: bytes) -> None:
    for end in range(len(text)):
        agree("parse_request", text[:end], MAX_FIELDS)
        agree("parse_response", text[:end], b"GET", MAX_FIELDS)
        agree("find_end", text[:end], max(0, end - 2), LIMIT)


@pytest.mark.parametrize("name", fields.MARKS, ids=bytes.decode)
def test_they_agree_on_every_field_once_and_twice(name: bytes) -> None:
    for value in VALUES:
        one = name + b": " + value
        two = [one, name + b": a"]
        for lines in ([one], [one, one], two, [one, b"Connection: upgrade"], [*two, b"Connection: upgrade"]):
            for start in (b"GET / HTTP/1.1", b"TRACE / HTTP/1.1"):
                agree("parse_request", head_of(get(H, *lines, start=start)), MAX_FIELDS)
                agree("parse_request", head_of(get(*lines, start=start)), MAX_FIELDS)
            agree("parse_response", head_of(response(*lines)), b"GET", MAX_FIELDS)


@pytest.mark.parametrize("fields_allowed", [0, 1, 7, 8, 9])
def test_they_agree_on_how_many_fields_there_may_be(fields_allowed: int) -> None:
    agree("parse_request", head_of(BROWSER), fields_allowed)
    agree("parse_response", head_of(PAGE), b"GET", fields_allowed)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**18, 10**19, 10**20])
def test_they_agree_on_lengths_about_the_largest(number: int) -> None:
    agree("parse_request", head_of(get(H, b"Content-Length: %d" % number)), MAX_FIELDS)
    agree("parse_response", head_of(response(b"Content-Length: %d" % number)), b"GET", MAX_FIELDS)


@pytest.mark.parametrize("size", [16383, 16384, 16385])
def test_they_agree_on_the_longest_target(size: int) -> None:
    agree("parse_request", head_of(get(H, start=b"GET /%b HTTP/1.1" % (b"a" * (size - 1)))), MAX_FIELDS)


@pytest.mark.parametrize("lines", [1, 8, 9, 15])
def test_they_agree_on_many_lines_of_this_hop(lines: int) -> None:
    drops = [b"Keep-Alive: %d" % n for n in range(lines)]
    agree("parse_request", head_of(get(*drops, H, b"X: 1")), MAX_FIELDS)
    agree("parse_response", head_of(response(b"X: 1", *drops)), b"GET", MAX_FIELDS)


@pytest.mark.parametrize("arguments", [(), (b"",), (b"", 1, 2, 3), ("text", 1), (b"", "1"), (b"GET", 2**80)])
def test_both_refuse_what_is_no_call(arguments: tuple[Any, ...]) -> None:
    for name in (C, PYTHON):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            implementation(name).find_end(*arguments)


def test_they_agree_on_a_buffer_that_grows() -> None:
    agree("find_end", bytearray(BROWSER), 0, LIMIT)


# ---- whatever comes ----

BLANKS = st.sampled_from([b"", b" ", b" ", b"\t", b"  "])
LINE_ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
STARTS = st.sampled_from([
    *(b"GET / HTTP/1.1", b"GET /a?b HTTP/1.1", b"POST /a HTTP/1.1", b"HEAD /? HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    *(b"TRACE /a HTTP/1.1", b"BREW /a HTTP/1.1", b"CONNECT /a HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/2.0"),
    *(b"GET http://a/b HTTP/1.1", b"GET /#a HTTP/1.1", b"GET  / HTTP/1.1", b"G:T / HTTP/1.1", b" GET / HTTP/1.1"),
    *(OK, b"HTTP/1.1 204 x", b"HTTP/1.1 101 x", b"HTTP/1.1 304 \x80", b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"GET /"),
    *(b"HTTP/1.1 20 x", b"HTTP/1.1 099 x", b"HTTP/1.1 2000 x", b"HTTP/1.2 200 OK", b"http/1.1 200 OK"),
])  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A start line and fields out of what matters, most of them well-formed, some with bytes replaced."""
    parts = [draw(STARTS), draw(LINE_ENDS)]
    if draw(st.booleans()):
        parts += [b"Host: a", b"\r\n"]
    for _ in range(draw(st.integers(0, 6))):
        parts += [
            draw(st.sampled_from(NAMES)),
            b":",
            draw(BLANKS),
            draw(st.sampled_from(VALUES)),
            draw(BLANKS),
            draw(LINE_ENDS),
        ]
    return b"".join(parts) + draw(st.sampled_from([b"\r\n", b"\r\n", b"", b"\r\n\r\nrest"]))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A head with some bytes replaced, left out or put in."""
    data = draw(heads() | st.sampled_from(REQUESTS + RESPONSES).filter(lambda text: len(text) < 2000))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 3)))
        data = data[:start] + draw(st.binary(max_size=3)) + data[end:]
    return data


@settings(max_examples=1500, deadline=None)
@given(text=mutated() | heads())
def test_they_agree_on_heads_out_of_what_matters(text: bytes) -> None:
    agree_on_all(text)


@settings(max_examples=300, deadline=None)
@given(text=st.binary(max_size=200))
def test_they_agree_on_any_bytes(text: bytes) -> None:
    agree_on_all(text)


# ---- who does the work ----


@pytest.mark.parametrize("text", PLAIN_REQUESTS + PLAIN_RESPONSES, ids=named)
def test_plain_messages_need_no_twin(text: bytes) -> None:
    module = implementation(C)
    fields.LINES.clear()
    if text.startswith(b"HTTP"):
        module.parse_response(head_of(text), b"GET", MAX_FIELDS)
    else:
        module.parse_request(head_of(text), MAX_FIELDS)
    assert not fields.LINES, "the twin remembers the lines that it reads"


def told(program: str, **environment: str) -> list[str]:
    """What a fresh interpreter prints."""
    argv = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


WHO = (
    "from proxy.http1 import parser, downstream; "
    "print(parser.IMPLEMENTATION, downstream.parse_request.__module__, bool(parser.WHY_PYTHON))"
)


def test_c_serves_unless_it_is_turned_off() -> None:
    implementation(C)
    assert told(WHO, HOTSWAP_HTTP1_HEAD="") == ["c", "proxy.http1._head", "False"]
    assert told(WHO, HOTSWAP_HTTP1_HEAD="python") == ["python", "proxy.http1.head", "True"]


def test_the_twin_serves_where_c_cannot_be_loaded() -> None:
    missing = "import sys; sys.modules['proxy.http1._head'] = None; "
    assert told(missing + WHO, HOTSWAP_HTTP1_HEAD="") == ["python", "proxy.http1.head", "True"]


def test_the_twin_serves_beside_c_of_other_sources() -> None:
    implementation(C)
    other = "from proxy.http1 import head; head.FORMAT += 1; "
    assert told(other + WHO, HOTSWAP_HTTP1_HEAD="") == ["python", "proxy.http1.head", "True"]


@pytest.mark.parametrize(
    ("why", "level", "remedy"),
    [
        ("", "ok", ""),
        ("cannot import name '_head'", "note", "install a C compiler"),
        (f"{parser.VARIABLE}=python is set", "note", f"unset {parser.VARIABLE}"),
    ],
)
def test_the_doctor_tells_who_serves(monkeypatch: pytest.MonkeyPatch, why: str, level: str, remedy: str) -> None:
    monkeypatch.setattr(parser, "WHY_PYTHON", why)
    (finding,) = http1()
    assert (finding.check, finding.level) == ("http1", level)
    assert why in finding.message
    assert finding.remedy.startswith(remedy)
