"""What is a message and what is malformed (RFC 9113 section 8, RFC 8441)."""

from __future__ import annotations

import pytest

from proxy.http2 import frame, heads
from proxy.http2.hpack import Never
from tests.proxy.http2.scene import GET, OK, POST, Stage, client, server

METHOD, SCHEME, AUTHORITY, PATH = GET
CONNECT = [(b":method", b"CONNECT"), (b":authority", b"a.example:443")]
WEBSOCKET = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH]

GOOD_REQUESTS = {
    "plain": GET,
    "no authority": [METHOD, SCHEME, PATH],
    "host instead": [METHOD, SCHEME, PATH, (b"host", b"a.example")],
    "host as well": [*GET, (b"host", b"A.example")],
    "any order of pseudo-fields": [PATH, AUTHORITY, SCHEME, METHOD, (b"x", b"")],
    "options of the server": [(b":method", b"OPTIONS"), SCHEME, AUTHORITY, (b":path", b"*")],
    "te trailers": [*GET, (b"te", b"trailers")],
    "several cookies": [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")],
    "same field again": [*GET, (b"x-a", b"1"), (b"x-a", b"1")],
    "connect": CONNECT,
    "ipv6": [METHOD, SCHEME, PATH, (b":authority", b"[::1]:80")],
    "obs-text": [*GET, (b"x", "\N{BLACK STAR}".encode())],
    "tab within": [*GET, (b"x", b"a\tb")],
}

BAD_REQUESTS = {
    "no method": [SCHEME, AUTHORITY, PATH],
    "no scheme": [METHOD, AUTHORITY, PATH],
    "no path": [METHOD, SCHEME, AUTHORITY],
    "nothing": [],
    "empty path": [METHOD, SCHEME, AUTHORITY, (b":path", b"")],
    "relative path": [METHOD, SCHEME, AUTHORITY, (b":path", b"index")],
    "space in the path": [METHOD, SCHEME, AUTHORITY, (b":path", b"/a b")],
    "fragment in the path": [METHOD, SCHEME, AUTHORITY, (b":path", b"/a#b")],
    "line break in the path": [METHOD, SCHEME, AUTHORITY, (b":path", b"/a\r\nx: y")],
    "star without options": [METHOD, SCHEME, AUTHORITY, (b":path", b"*")],
    "method twice": [METHOD, *GET],
    "path twice": [*GET, (b":path", b"/other")],
    "authority twice": [AUTHORITY, *GET],
    "pseudo-field behind others": [METHOD, SCHEME, (b"x", b"y"), AUTHORITY, PATH],
    "unknown pseudo-field": [*GET, (b":other", b"1")],
    "status": [*GET, (b":status", b"200")],
    "bad method": [(b":method", b"G ET"), SCHEME, AUTHORITY, PATH],
    "bad scheme": [METHOD, (b":scheme", b"ht tp"), AUTHORITY, PATH],
    "bad authority": [METHOD, SCHEME, (b":authority", b"a/b"), PATH],
    "empty authority": [METHOD, SCHEME, (b":authority", b""), PATH],
    "user in the authority": [METHOD, SCHEME, (b":authority", b"me@a.example"), PATH],
    "host of another": [*GET, (b"host", b"b.example")],
    "host twice": [METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"a")],
    "upper case": [*GET, (b"X-Upper", b"1")],
    "space in a name": [*GET, (b"x y", b"1")],
    "empty name": [*GET, (b"", b"1")],
    "colon in a name": [*GET, (b"x:y", b"1")],
    "NUL in a value": [*GET, (b"x", b"a\0b")],
    "CR in a value": [*GET, (b"x", b"a\rb")],
    "LF in a value": [*GET, (b"x", b"a\nb")],
    "space before a value": [*GET, (b"x", b" a")],
    "space behind a value": [*GET, (b"x", b"a ")],
    "tab behind a value": [*GET, (b"x", b"a\t")],
    "connection": [*GET, (b"connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"5")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"h2c")],
    "te of something else": [*GET, (b"te", b"gzip")],
    "te of more": [*GET, (b"te", b"trailers, gzip")],
    "content-length that is none": [*GET, (b"content-length", b"+5")],
    "content-length twice": [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    "content-length beyond 63 bits": [*GET, (b"content-length", b"9223372036854775808")],
    "connect with a path": [*CONNECT, PATH],
    "connect with a scheme": [*CONNECT, SCHEME],
    "connect without authority": [(b":method", b"CONNECT")],
    "protocol without connect": [*GET, (b":protocol", b"websocket")],
}


@pytest.mark.parametrize("fields", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS.keys())
def test_request_is_taken(fields: list[tuple[bytes, bytes]]) -> None:
    stage = server()
    for stream_id in (1, 3, 5):  # the same block is remembered from the third time on
        stage.request(stream_id, fields)
    assert stage.calls == [("headers", stream_id, fields, True) for stream_id in (1, 3, 5)]


@pytest.mark.parametrize("fields", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_malformed_request_costs_its_stream(fields: list[tuple[bytes, bytes]]) -> None:
    stage = server()
    for stream_id in (1, 3, 5):
        stage.request(stream_id, fields)
    assert stage.resets() == [(stream_id, "PROTOCOL_ERROR") for stream_id in (1, 3, 5)]
    assert stage.calls == [("refused", stream_id, 400) for stream_id in (1, 3, 5)]
    stage.request(7)
    assert stage.calls[-1] == ("headers", 7, GET, True)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b":status", b"20")],
        [(b":status", b"2000")],
        [(b":status", b"+20")],
        [(b":status", b"099")],
        [(b":status", b"101")],
        [*OK, *OK],
        [(b"x", b"y"), *OK],
        [*OK, METHOD],
        [*OK, (b"connection", b"close")],
        [*OK, (b"X", b"y")],
    ],
)
def test_malformed_response_costs_its_stream(fields: list[tuple[bytes, bytes]]) -> None:
    stage = client()
    stage.call()
    stage.session.take()
    stage.say(stage.heads(1, fields))
    assert stage.resets() == [(1, "PROTOCOL_ERROR")]
    assert stage.calls == [("reset", 1, "PROTOCOL_ERROR")]


def test_interim_response_cannot_end_a_stream() -> None:
    stage = client()
    stage.call()
    stage.say(stage.heads(1, [(b":status", b"100")], end=True))
    assert stage.calls == [("reset", 1, "PROTOCOL_ERROR")]


def test_body_before_a_response_is_malformed() -> None:
    stage = client()
    stage.call()
    stage.body(1, b"x")
    assert stage.calls == [("reset", 1, "PROTOCOL_ERROR")]


@pytest.mark.parametrize("fields", [[(b":status", b"200")], [METHOD], [(b"x", b"y"), PATH]])
def test_pseudo_fields_have_no_place_in_trailers(fields: list[tuple[bytes, bytes]]) -> None:
    stage = server()
    stage.request(1, POST, end=False)
    stage.request(1, fields)
    assert stage.resets() == [(1, "PROTOCOL_ERROR")]
    assert stage.calls[-1] == ("reset", 1, "PROTOCOL_ERROR")


def test_trailers_end_the_stream() -> None:
    stage = server()
    stage.request(1, POST, end=False)
    stage.request(1, [(b"x", b"y")], end=False)
    assert stage.calls[-1] == ("reset", 1, "PROTOCOL_ERROR")


# ---- content-length ----


def sized(size: int) -> list[tuple[bytes, bytes]]:
    return [*POST, (b"content-length", b"%d" % size)]


def test_body_of_the_length_it_states() -> None:
    stage = server()
    stage.request(1, sized(5), end=False)
    stage.body(1, b"hel")
    stage.move()
    stage.body(1, b"lo", end=True)
    stage.request(3, sized(5), end=False)
    stage.body(3, b"hello")
    stage.request(3, [(b"x", b"y")])
    stage.request(5, sized(0))
    assert not [call for call in stage.calls if call[0] == "reset"]


@pytest.mark.parametrize("moves", [False, True])
def test_body_of_another_length_is_malformed(moves: bool) -> None:
    def talk(stage: Stage, *pieces: bytes, trailers: bool = False) -> None:
        stage.request(1, sized(5), end=False)
        for number, piece in enumerate(pieces, 1):
            if moves:
                stage.move()
            stage.body(1, piece, end=number == len(pieces) and not trailers)
        if trailers:
            stage.request(1, [(b"x", b"y")])
        assert stage.calls[-1] == ("reset", 1, "PROTOCOL_ERROR")

    talk(server(), b"hello!")
    talk(server(), b"hel", b"lo!")
    talk(server(), b"hell")
    talk(server(), b"hell", b"")
    talk(server(), b"hell", trailers=True)
    stage = server()
    stage.request(1, sized(5))
    assert stage.resets() == [(1, "PROTOCOL_ERROR")]


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", b"200"), (b"GET", b"304"), (b"GET", b"204"), (b"HEAD", b"404")]
)
def test_response_without_a_body_may_state_a_length(method: bytes, status: bytes) -> None:
    fields = [(b":status", status), (b"content-length", b"5")]
    for end in (True, False):
        stage = client()
        stage.call([(b":method", method), *GET[1:]])
        stage.move()
        stage.say(stage.heads(1, fields, end=end))
        if not end:
            stage.body(1, b"", end=True)
        assert not stage.session.streams
        assert [call[0] for call in stage.calls] == (["headers"] if end else ["headers", "body"])
    stage = client()
    stage.call([(b":method", method), *GET[1:]])
    stage.say(stage.heads(1, [(b":status", status)], end=False))
    stage.body(1, b"hello")
    assert stage.calls[-1] == ("reset", 1, "PROTOCOL_ERROR")


# ---- CONNECT ----


def test_tunnel_has_no_length() -> None:
    stage = server(connect=True)
    stage.request(1, WEBSOCKET, end=False)
    stage.body(1, b"frames")
    assert [call[0] for call in stage.calls] == ["headers", "body"]
    stage = client()
    stage.call(WEBSOCKET, end=False)
    stage.say(stage.heads(1, [*OK, (b"content-length", b"0")], end=False))
    stage.body(1, b"frames")
    assert [call[0] for call in stage.calls] == ["headers", "body"]


def test_extended_connect_is_malformed_unless_announced() -> None:
    stage = server()
    stage.request(1, WEBSOCKET, end=False)
    assert stage.resets() == [(1, "PROTOCOL_ERROR")]


@pytest.mark.parametrize("missing", [SCHEME, PATH, AUTHORITY])
def test_extended_connect_has_all_pseudo_fields(missing: tuple[bytes, bytes]) -> None:
    stage = server(connect=True)
    stage.request(1, [field for field in WEBSOCKET if field != missing], end=False)
    assert stage.resets() == [(1, "PROTOCOL_ERROR")]


def test_server_that_takes_extended_connect_is_known() -> None:
    stage = client()
    assert not stage.session.theirs.connect
    stage.say(frame.settings([(frame.ENABLE_CONNECT_PROTOCOL, 1)]))
    stage.move()
    assert stage.session.theirs.connect


# ---- sizes ----


def test_list_over_the_limit_is_answered_and_the_connection_goes_on() -> None:
    stage = server(header_list=1000)
    large = [*GET, (b"x-large", b"y" * 1200)]
    stage.request(1, large, end=False)
    (kind, flags, _, block), (reset, _, _, code) = stage.frames()
    assert (kind, flags) == (frame.HEADERS, 5)
    assert (b":status", b"431") in list(stage.decoder.decode(block, raw=True))
    assert (reset, code) == (frame.RST_STREAM, bytes(4))
    stage.request(3, large)
    assert [kind for kind, *_ in stage.frames()] == [frame.HEADERS]
    assert stage.calls == [("refused", 1, 431), ("refused", 3, 431)]
    assert not stage.session.streams
    stage.request(5)
    assert stage.calls[-1] == ("headers", 5, GET, True)


def test_response_over_the_limit_costs_its_stream() -> None:
    stage = client(header_list=1000)
    stage.call()
    stage.session.take()
    stage.say(stage.heads(1, [*OK, (b"x-large", b"y" * 1200)]))
    assert stage.resets() == [(1, "ENHANCE_YOUR_CALM")]
    assert stage.calls == [("reset", 1, "ENHANCE_YOUR_CALM")]


# ---- memory ----


def test_remembered_block_means_the_same_only_while_the_table_does() -> None:
    stage = server()
    plain = [METHOD, SCHEME, PATH]
    own, other = (b"x-own", b"1"), (b"x-other", b"2")
    stage.request(1, [*plain, own])
    indexed = stage.block([*plain, own])  # refers to the newest entry
    for stream_id in (3, 5):
        stage.say(frame.headers(indexed, stream_id, end=True, most=16384))
    assert stage.calls[-1] == ("headers", 5, [*plain, own], True)
    stage.request(7, [*plain, other])
    stage.say(frame.headers(indexed, 9, end=True, most=16384))
    assert stage.calls[-1] == ("headers", 9, [*plain, other], True)


def test_remembered_head_is_the_same_object_until_the_table_changes() -> None:
    stage = server()
    for stream_id in (1, 3, 5, 7, 9):
        stage.request(stream_id)
    first, second, third, fourth, fifth = (call[2] for call in stage.calls)
    assert first == second == third == fourth == fifth == GET
    assert second is third is fourth is fifth
    stage.request(11, [*GET, (b"x-other", b"2")])
    for stream_id in (13, 15):
        stage.request(stream_id)
    assert stage.calls[-1][2] == GET
    assert stage.calls[-1][2] is not fifth


def test_memories_are_bounded_and_keep_no_secrets() -> None:
    stage = server()
    for number in range(200):
        block = b"\x82\x86\x41\x01a\x04\x04/%03d" % number if not number else b"\x82\x86\xbe\x04\x04/%03d" % number
        stage.say(frame.headers(block, 2 * number + 1, end=True, most=16384))
        stage.session.send_headers(2 * number + 1, OK, True)
    assert 0 < len(stage.session.known) <= 32
    for number in range(5000):
        heads.meaning((b"x-a", b"%d" % number))
    assert (b"x-a", b"4999") in heads._MEANINGS
    assert len(heads._MEANINGS) <= heads.MAX_MEMO
    for field in (Never(b"x-token", b"secret"), (b"authorization", b"secret"), (b":path", b"/secret")):
        heads.meaning(field)
        assert field not in heads._MEANINGS
