"""Messages and what becomes of them: the one table that drives the parser and the sessions.

Every case is run whole, byte by byte, and with bytes of a next message behind it.
"""

from __future__ import annotations

from typing import NamedTuple


class Bad(NamedTuple):
    """A request that is refused, and the status of the answer."""

    name: str
    status: int
    request: bytes


class BadResponse(NamedTuple):
    """A response of an upstream that the client never sees: it gets 502."""

    name: str
    response: bytes


class Good(NamedTuple):
    """A request and what of it is forwarded: start line and fields, before what the proxy adds."""

    name: str
    request: bytes
    forwarded: bytes
    body: bytes = b""


def get(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *lines]) + b"\r\n\r\n"


H = b"Host: a"
CHUNKED = b"Transfer-Encoding: chunked"


def chunked(body: bytes, *lines: bytes) -> bytes:
    return get(H, CHUNKED, *lines, start=b"POST / HTTP/1.1") + body


BAD_REQUESTS = [
    # line ends and control characters
    Bad("LF only", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    Bad("LF after the request line", 400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    Bad("LF after a field", 400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    Bad("LF before the request line", 400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Bad("bare CR in a value", 400, get(H, b"X: a\rb")),
    Bad("bare CR in the target", 400, get(H, start=b"GET /\r HTTP/1.1")),
    Bad("CR CR LF", 400, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    Bad("NUL in a value", 400, get(H, b"X: a\0b")),
    Bad("NUL in a name", 400, get(H, b"X\0: a")),
    Bad("NUL in the target", 400, get(H, start=b"GET /\0 HTTP/1.1")),
    Bad("DEL in a value", 400, get(H, b"X: \x7f")),
    Bad("bell in a value", 400, get(H, b"X: \x07")),
    Bad("a TLS hello", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # the request line
    Bad("no version", 400, get(H, start=b"GET /")),
    Bad("two spaces", 400, get(H, start=b"GET  / HTTP/1.1")),
    Bad("a tab for a space", 400, get(H, start=b"GET\t/ HTTP/1.1")),
    Bad("space at the end", 400, get(H, start=b"GET / HTTP/1.1 ")),
    Bad("space in the target", 400, get(H, start=b"GET /a b HTTP/1.1")),
    Bad("lower-case http", 400, get(H, start=b"GET / http/1.1")),
    Bad("two-digit version", 400, get(H, start=b"GET / HTTP/1.10")),
    Bad("no target", 400, get(H, start=b"GET HTTP/1.1")),
    Bad("relative target", 400, get(H, start=b"GET index.html HTTP/1.1")),
    Bad("asterisk with GET", 400, get(H, start=b"GET * HTTP/1.1")),
    Bad("fragment", 400, get(H, start=b"GET /#top HTTP/1.1")),
    Bad("octets above ASCII in the target", 400, get(H, start=b"GET /\xc3\xa9 HTTP/1.1")),
    Bad("method with a colon", 400, get(H, start=b"GE:T / HTTP/1.1")),
    Bad("user info", 400, get(H, start=b"GET http://u:p@a/ HTTP/1.1")),
    Bad("another scheme", 400, get(H, start=b"GET ftp://a/ HTTP/1.1")),
    Bad("HTTP/2 preface", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Bad("HTTP/3.0", 505, get(H, start=b"GET / HTTP/3.0")),
    Bad("HTTP/0.9 in new clothes", 505, get(start=b"GET / HTTP/0.9")),
    Bad("CONNECT", 501, get(H, start=b"CONNECT a:443 HTTP/1.1")),
    Bad("CONNECT to a path", 501, get(H, start=b"CONNECT /a HTTP/1.1")),
    Bad("long target", 414, get(H, start=b"GET /" + b"a" * 16384 + b" HTTP/1.1")),
    Bad("target longer than a head", 414, get(H, start=b"GET /" + b"a" * 40000 + b" HTTP/1.1")),
    # fields
    Bad("space before the colon", 400, get(H, b"X : a")),
    Bad("tab before the colon", 400, get(H, b"X\t: a")),
    Bad("no name", 400, get(H, b": a")),
    Bad("no colon", 400, get(H, b"X")),
    Bad("folded line", 400, get(H, b"X: a", b" b")),
    Bad("folded first line", 400, get(b" Host: a")),
    Bad("folded by a tab", 400, get(H, b"X: a", b"\tb")),
    Bad("space in a name", 400, get(H, b"X Y: a")),
    Bad("octets above ASCII in a name", 400, get(H, b"\xc3\xa9: a")),
    Bad("too many fields", 431, get(H, *[b"X: a"] * 100)),
    Bad("too long a head", 431, get(H, *[b"X: " + b"a" * 1000] * 40)),
    Bad("too long a field", 431, get(H, b"X: " + b"a" * 40000)),
    # Host
    Bad("no Host", 400, get()),
    Bad("two Hosts", 400, get(H, H)),
    Bad("two Hosts in HTTP/1.0", 400, get(H, b"Host: b", start=b"GET / HTTP/1.0")),
    Bad("Host with a path", 400, get(b"Host: a/b")),
    Bad("Host with a space", 400, get(b"Host: a b")),
    Bad("Host list", 400, get(b"Host: a, b")),
    Bad("Host with user info", 400, get(b"Host: u@a")),
    Bad("Host with a huge port", 400, get(b"Host: a:123456")),
    Bad("absolute form without Host", 400, get(start=b"GET http://a/ HTTP/1.1")),
    # Content-Length
    Bad("two lengths", 400, get(H, b"Content-Length: 1", b"Content-Length: 2") + b"x"),
    Bad("the same length twice", 400, get(H, b"Content-Length: 1", b"content-length: 1") + b"x"),
    Bad("length list", 400, get(H, b"Content-Length: 1, 1") + b"x"),
    Bad("signed length", 400, get(H, b"Content-Length: +1") + b"x"),
    Bad("negative length", 400, get(H, b"Content-Length: -1")),
    Bad("hexadecimal length", 400, get(H, b"Content-Length: 0x1") + b"x"),
    Bad("underscored length", 400, get(H, b"Content-Length: 1_0")),
    Bad("fraction", 400, get(H, b"Content-Length: 1.0")),
    Bad("empty length", 400, get(H, b"Content-Length:")),
    Bad("overflowing length", 400, get(H, b"Content-Length: 9223372036854775808")),
    Bad("length of 30 digits", 400, get(H, b"Content-Length: " + b"0" * 29 + b"1") + b"x"),
    Bad("digits of another script", 400, get(H, "Content-Length: ٣".encode())),
    Bad("zero length together with chunks", 400, get(H, b"Content-Length: 0", CHUNKED) + b"0\r\n\r\n"),
    # Transfer-Encoding
    Bad("length and chunks", 400, get(H, b"Content-Length: 5", CHUNKED) + b"0\r\n\r\n"),
    Bad("chunks and length", 400, get(H, CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n"),
    Bad("chunked twice", 400, get(H, CHUNKED, CHUNKED) + b"0\r\n\r\n"),
    Bad("chunked, chunked", 400, get(H, b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n"),
    Bad("chunked not last", 400, get(H, b"Transfer-Encoding: chunked, gzip")),
    Bad("identity", 400, get(H, b"Transfer-Encoding: identity")),
    Bad("xchunked", 400, get(H, b"Transfer-Encoding: xchunked")),
    Bad("quoted chunked", 400, get(H, b'Transfer-Encoding: "chunked"')),
    Bad("empty coding", 400, get(H, b"Transfer-Encoding:")),
    Bad("chunked with a comma", 400, get(H, b"Transfer-Encoding: ,chunked")),
    Bad("vertical tab before chunked", 400, get(H, b"Transfer-Encoding: \x0bchunked")),
    Bad("gzip, chunked", 501, get(H, b"Transfer-Encoding: gzip, chunked")),
    Bad("chunks in HTTP/1.0", 400, get(H, CHUNKED, start=b"POST / HTTP/1.0") + b"0\r\n\r\n"),
    # others
    Bad("unknown expectation", 417, get(H, b"Expect: the-unexpected")),
    Bad("two expectations", 417, get(H, b"Expect: 100-continue", b"Expect: more")),
    Bad("Max-Forwards is over", 501, get(H, b"Max-Forwards: 0", start=b"OPTIONS / HTTP/1.1")),
    Bad("malformed Max-Forwards", 400, get(H, b"Max-Forwards: -1", start=b"TRACE / HTTP/1.1")),
    Bad("malformed Connection", 400, get(H, b"Connection: a b")),
]

BAD_CHUNKS = [
    Bad("no size", 400, chunked(b"\r\n\r\n")),
    Bad("size is no number", 400, chunked(b"xyz\r\n")),
    Bad("signed size", 400, chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    Bad("negative size", 400, chunked(b"-1\r\n")),
    Bad("0x size", 400, chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    Bad("underscored size", 400, chunked(b"1_0\r\n")),
    Bad("space before the size", 400, chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    Bad("space after the size", 400, chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    Bad("overflowing size", 400, chunked(b"10000000000000000\r\n")),
    Bad("size of 16 digits", 400, chunked(b"ffffffffffffffff\r\n")),
    Bad("size line that ends with LF", 400, chunked(b"5\nhello\r\n0\r\n\r\n")),
    Bad("no CRLF after the data", 400, chunked(b"5\r\nhello0\r\n\r\n")),
    Bad("LF after the data", 400, chunked(b"5\r\nhello\n0\r\n\r\n")),
    Bad("CR x after the data", 400, chunked(b"5\r\nhello\rx0\r\n\r\n")),
    Bad("more data than announced", 400, chunked(b"5\r\nhello!\r\n0\r\n\r\n")),
    Bad("CR in an extension", 400, chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    Bad("LF in an extension", 400, chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    Bad("unclosed quote in an extension", 400, chunked(b'5;a="b\r\nhello\r\n0\r\n\r\n')),
    Bad("long extension", 400, chunked(b"5;" + b"a" * 1000 + b"\r\nhello\r\n0\r\n\r\n")),
    Bad("endless size line", 400, chunked(b"0" * 1000)),
    Bad("many extensions", 400, chunked((b"1;" + b"a" * 500 + b"\r\nx\r\n") * 40)),
    Bad("malformed trailer", 400, chunked(b"0\r\nX : a\r\n\r\n")),
    Bad("folded trailer", 400, chunked(b"0\r\nX: a\r\n b\r\n\r\n")),
    Bad("length in the trailer", 400, chunked(b"0\r\nContent-Length: 5\r\n\r\n")),
    Bad("codings in the trailer", 400, chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    Bad("Host in the trailer", 400, chunked(b"0\r\nHost: b\r\n\r\n")),
    Bad("long trailer", 431, chunked(b"0\r\n" + b"X: a\r\n" * 6000 + b"\r\n")),
    Bad("too many trailers", 431, chunked(b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n")),
]

GOOD_REQUESTS = [
    Good("the plainest", get(H), b"GET / HTTP/1.1\r\nHost: a"),
    Good(
        "order and case stay",
        get(b"b: 1", b"HOST: a", b"B:2 ", b"a:"),
        b"GET / HTTP/1.1\r\nb: 1\r\nHOST: a\r\nB:2 \r\na:",
    ),
    Good("empty lines before it", b"\r\n\r\n" + get(H), b"GET / HTTP/1.1\r\nHost: a"),
    Good("own method", get(H, start=b"BREW /pot HTTP/1.1"), b"BREW /pot HTTP/1.1\r\nHost: a"),
    Good("later minor version", get(H, start=b"GET / HTTP/1.3"), b"GET / HTTP/1.1\r\nHost: a"),
    Good(
        "odd but legal target",
        get(H, start=b"GET /a/../%2e?b?c=|{} HTTP/1.1"),
        b"GET /a/../%2e?b?c=|{} HTTP/1.1\r\nHost: a",
    ),
    Good("octets above ASCII in a value", get(H, b"X: \xc3\xa9"), b"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9"),
    Good("tab in a value", get(H, b"X:\ta\tb\t"), b"GET / HTTP/1.1\r\nHost: a\r\nX:\ta\tb\t"),
    Good("empty Host", get(b"Host:"), b"GET / HTTP/1.1\r\nHost:"),
    Good("IPv6 Host", get(b"Host: [::1]:8080"), b"GET / HTTP/1.1\r\nHost: [::1]:8080"),
    Good("asterisk", get(H, start=b"OPTIONS * HTTP/1.1"), b"OPTIONS * HTTP/1.1\r\nHost: a"),
    Good("absolute form", get(H, start=b"GET http://a/x HTTP/1.1"), b"GET /x HTTP/1.1\r\nHost: a"),
    Good(
        "absolute form decides", get(b"Host: b", start=b"GET HTTP://a:80?q HTTP/1.1"), b"GET /?q HTTP/1.1\r\nHost: a:80"
    ),
    Good("absolute form without path", get(H, start=b"OPTIONS http://a HTTP/1.1"), b"OPTIONS * HTTP/1.1\r\nHost: a"),
    Good("HTTP/1.0 with Host", get(H, start=b"GET / HTTP/1.0"), b"GET / HTTP/1.1\r\nHost: a"),
    Good(
        "absolute form in HTTP/1.0",
        get(start=b"GET http://a/ HTTP/1.0"),
        b"GET / HTTP/1.1\r\nHost: a",
    ),
    Good(
        "fields of this hop",
        get(
            H,
            b"Connection: close, X-Mine",
            b"Keep-Alive: 5",
            b"TE: trailers",
            b"x-mine: 1",
            b"Proxy-Connection: a",
            b"Y: 1",
        ),
        b"GET / HTTP/1.1\r\nHost: a\r\nY: 1",
    ),
    Good(
        "fields that may not be named away",
        get(H, b"Connection: host, x-request-id, via", b"X-Request-Id: 7", b"Via: 1.0 b"),
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\nVia: 1.0 b",
    ),
    Good("upgrade that was not asked for", get(H, b"Upgrade: websocket"), b"GET / HTTP/1.1\r\nHost: a"),
    Good(
        "upgrade that is not tunnelled",
        get(H, b"Connection: upgrade, http2-settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
        b"GET / HTTP/1.1\r\nHost: a",
    ),
    Good(
        "Max-Forwards counts down",
        get(H, b"Max-Forwards: 7", b"X: 1", start=b"TRACE / HTTP/1.1"),
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 6\r\nX: 1",
    ),
    Good("Max-Forwards of others", get(H, b"Max-Forwards: 0"), b"GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0"),
    Good("length of zero", get(H, b"Content-Length: 0"), b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0"),
    Good(
        "length with zeros before",
        get(H, b"Content-Length: 0003", start=b"PUT / HTTP/1.1") + b"abc",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0003",
        b"abc",
    ),
    Good(
        "body that looks like a request",
        get(H, b"Content-Length: 18", start=b"POST / HTTP/1.1") + b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18",
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    Good(
        "chunks",
        chunked(b"5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n"),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
        b"5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n",
    ),
    Good(
        "chunks, in any case",
        get(H, b"transfer-encoding:\tCHUNKED ", start=b"POST / HTTP/1.1") + b"0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED ",
        b"0\r\n\r\n",
    ),
    Good(
        "chunk extensions end here",
        chunked(b'5;a;b=c ; d="e;\\"f" \r\nhello\r\n0;x\r\n\r\n'.replace(b" \r\n", b"\r\n")),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Good(
        "trailers",
        chunked(b"1\r\nx\r\n000\r\nX-Sum: 1\r\nConnection: close\r\nY:\r\n\r\n"),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
        b"1\r\nx\r\n000\r\nX-Sum: 1\r\nY:\r\n\r\n",
    ),
]

OK = b"HTTP/1.1 200 OK"


def response(*lines: bytes, start: bytes = OK) -> bytes:
    return b"\r\n".join([start, *lines]) + b"\r\n\r\n"


BAD_RESPONSES = [
    BadResponse("garbage", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    BadResponse("LF only", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    BadResponse("bare CR", response(b"X: a\rb", b"Content-Length: 0")),
    BadResponse("NUL", response(b"X: a\0", b"Content-Length: 0")),
    BadResponse("HTTP/2.0", response(b"Content-Length: 0", start=b"HTTP/2.0 200 OK")),
    BadResponse("two-digit status", response(b"Content-Length: 0", start=b"HTTP/1.1 20 OK")),
    BadResponse("status below 100", response(b"Content-Length: 0", start=b"HTTP/1.1 099 OK")),
    BadResponse("no status", response(b"Content-Length: 0", start=b"HTTP/1.1 OK")),
    BadResponse("folded line", response(b"X: a", b" b", b"Content-Length: 0")),
    BadResponse("space before the colon", response(b"Content-Length : 0")),
    BadResponse("two lengths", response(b"Content-Length: 0", b"Content-Length: 0")),
    BadResponse("length list", response(b"Content-Length: 0, 0")),
    BadResponse("signed length", response(b"Content-Length: +0")),
    BadResponse("overflowing length", response(b"Content-Length: 99999999999999999999")),
    BadResponse("length and chunks", response(b"Content-Length: 5", CHUNKED)),
    BadResponse("chunked not last", response(b"Transfer-Encoding: chunked, gzip")),
    BadResponse("gzip, chunked", response(b"Transfer-Encoding: gzip, chunked")),
    BadResponse("chunked twice", response(CHUNKED, CHUNKED)),
    BadResponse("chunks in HTTP/1.0", response(CHUNKED, start=b"HTTP/1.0 200 OK")),
    BadResponse("tunnel that nobody asked for", response(b"Upgrade: x", start=b"HTTP/1.1 101 Switching Protocols")),
    BadResponse("tunnel without a name", response(start=b"HTTP/1.1 101 Switching Protocols")),
    BadResponse("endless head", OK + b"\r\n" + b"X: " + b"a" * 70000),
    BadResponse("too many fields", response(b"Content-Length: 0", *[b"X: a"] * 300)),
]
