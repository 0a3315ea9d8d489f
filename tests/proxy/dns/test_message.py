"""DNS messages: whatever comes is a message or a `BadMessage`, at a cost that its size bounds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dns.answer import LONGEST_CHAIN, Absent, Alias, Failed, Found, meaning
from proxy.dns.message import AAAA, CNAME, NS, SOA, A, BadMessage, Question, labels, parse, query

ASKED = Question(labels("App.Test"), A)
POINTER = b"\xc0\x0c"  # to the name of the question


def wire(name: str) -> bytes:
    return b"".join(bytes((len(one),)) + one for one in labels(name)) + b"\0"


def record(name: bytes, kind: int, data: bytes, ttl: int = 60) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def reply(
    *answers: bytes,
    authority: tuple[bytes, ...] = (),
    rcode: int = 0,
    number: int = 7,
    flags: int = 0x8180,
    kind: int = A,
) -> bytes:
    head = struct.pack("!6H", number, flags | rcode, 1, len(answers), len(authority), 0)
    return head + wire("app.test") + struct.pack("!HH", kind, 1) + b"".join((*answers, *authority))


def soa(ttl: int, minimum: int) -> bytes:
    return record(wire("test"), SOA, wire("a.test") + wire("b.test") + struct.pack("!5I", 1, 2, 3, 4, minimum), ttl)


GOOD = reply(
    record(POINTER, CNAME, wire("b.test"), 30), record(wire("b.test"), A, b"\x0a\0\0\1"), authority=(soa(60, 5),)
)


def test_a_question_is_as_rfc_1035_has_it() -> None:
    assert query(7, ASKED) == b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"\3app\4test\0" + b"\0\1\0\1"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            reply(record(POINTER, A, b"\x0a\0\0\1"), record(POINTER, A, b"\x0a\0\0\2", 5)),
            Found(("10.0.0.1", "10.0.0.2"), 5),
        ),
        (GOOD, Found(("10.0.0.1",), 30)),
        (reply(record(POINTER, A, b"\x0a\0\0\1", 1 << 31)), Found(("10.0.0.1",), 0)),
        (reply(rcode=3, authority=(soa(60, 5),)), Absent(5, "app.test does not exist")),
        (reply(authority=(soa(4, 5),)), Absent(4, "app.test has no address")),
        (reply(), Absent(None, "app.test has no address")),
        (reply(record(POINTER, CNAME, wire("b.test"), 9)), Alias(labels("b.test"), 9, 1)),
        (reply(rcode=2), Failed("the server answers SERVFAIL")),
        (
            reply(authority=(record(wire("test"), NS, wire("a.test")),)),
            Failed("the server refers to others and asks none itself"),
        ),
    ],
)
def test_answers_mean_what_the_rfcs_say(data: bytes, said: object) -> None:
    assert meaning(parse(data), ASKED) == said


def test_addresses_of_six_have_sixteen_bytes() -> None:
    message = parse(reply(record(POINTER, AAAA, b"\0" * 15 + b"\1"), kind=AAAA))
    assert meaning(message, Question(ASKED.name, AAAA)) == Found(("::1",), 60)


def test_a_circle_of_aliases_ends() -> None:
    said = meaning(parse(reply(record(POINTER, CNAME, wire("b.test")), record(wire("b.test"), CNAME, POINTER))), ASKED)
    assert isinstance(said, Failed)
    assert str(LONGEST_CHAIN) in said.why


@pytest.mark.parametrize(
    "data",
    [
        reply(record(b"\xc0\x1a", A, b"\x0a\0\0\1")),  # to itself
        reply(record(b"\xc0\xff", A, b"\x0a\0\0\1")),  # forwards
        reply(record(b"\x40a", A, b"\x0a\0\0\1")),
        reply(record(POINTER, A, b"\x0a\0\0")),
        reply(record(POINTER, CNAME, wire("b.test") + b"\0")),
        reply(record(wire(".".join(["a" * 63] * 4) + ".aa"), A, b"\x0a\0\0\1")),
        reply(flags=0x0180),
        b"\0\7\x81\x80" + b"\xff" * 8,
    ],
)
def test_what_is_wrong_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        parse(data)


def test_every_cut_is_refused() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(BadMessage):
            parse(GOOD[:end])


def test_of_a_truncated_message_only_the_question_is_read() -> None:
    message = parse(reply(b"\xff", flags=0x8380))
    assert (message.truncated, message.question, message.answers) == (True, ASKED, ())


@given(st.binary(max_size=600))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for one in (data, GOOD[:12] + data, GOOD[:30] + data):
        try:
            meaning(parse(one), ASKED)
        except BadMessage:
            continue


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_wrong_byte_is_a_message_or_refused(at: int, byte: int) -> None:
    try:
        meaning(parse(GOOD[:at] + bytes((byte,)) + GOOD[at + 1 :]), ASKED)
    except BadMessage:
        return
