"""The format of the PROXY protocol's header: what is taken, what is refused, at any cut of the bytes."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.proxy_protocol.header import (
    LONGEST,
    LONGEST_LINE,
    SIGNATURE,
    BadHeader,
    Header,
    Pair,
    crc32c,
    encode,
    parse,
    plain_host,
)

PORT = st.integers(0, 65535)
PAIRS = st.one_of(
    st.builds(Pair, st.ip_addresses(v=4).map(str), PORT, st.ip_addresses(v=4).map(str), PORT),
    st.builds(Pair, st.ip_addresses(v=6).map(str), PORT, st.ip_addresses(v=6).map(str), PORT),
)
VERSION = st.sampled_from(["v1", "v2"])


def second(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


INET = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack("!HH", 56324, 443)
CLIENT = Pair("192.0.2.1", 56324, "198.51.100.7", 443)


@given(VERSION, st.none() | PAIRS, st.binary(max_size=30))
def test_what_is_written_is_read_and_nothing_behind_it(version: str, pair: Pair | None, rest: bytes) -> None:
    text = encode(version, pair)
    found = parse(text + rest)
    assert found is not None
    assert found.size == len(text)
    if pair is None:
        assert found.pair is None
    else:
        assert found.pair is not None
        assert ip_address(found.pair.source) == ip_address(pair.source)
        assert ip_address(found.pair.target) == ip_address(pair.target)
        assert (found.pair.source_port, found.pair.target_port) == (pair.source_port, pair.target_port)


@given(VERSION, st.none() | PAIRS)
def test_every_part_of_a_header_waits_for_the_rest(version: str, pair: Pair | None) -> None:
    text = encode(version, pair)
    assert len(text) <= LONGEST_LINE or version == "v2"
    assert [parse(text[:cut]) for cut in range(len(text))] == [None] * len(text)


def test_the_examples_of_the_specification_are_read() -> None:
    line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    assert parse(line + b"GET / HTTP/1.1\r\n") == Header(len(line), Pair("192.168.0.1", 56324, "192.168.0.11", 443))
    worst = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"
    assert parse(worst) == Header(len(worst), None)
    assert parse(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n") is not None


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\n",
        b"P\r\n",
        b"PROXY\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 +2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        b"PROXY UNKNOWN a\nb\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * LONGEST_LINE,
        SIGNATURE[:4] + b"x",
        second(0x11, 0x11, INET),
        second(0x22, 0x11, INET),
        second(0x21, 0x41, INET),
        second(0x21, 0x13, INET),
        second(0x21, 0x11, INET[:-1]),
        second(0x21, 0x21, INET),
        second(0x21, 0x31, bytes(215)),
        second(0x21, 0x11, INET + b"\x04\x00"),
        second(0x21, 0x11, INET + b"\x04\x00\x02x"),
        second(0x21, 0x11, INET + b"\x03\x00\x03abc"),
        second(0x20, 0x00, bytes(LONGEST)),
    ],
)
def test_what_is_no_header_is_refused(text: bytes) -> None:
    with pytest.raises(BadHeader):
        parse(text)


def test_a_header_that_is_too_long_is_refused_before_it_came() -> None:
    with pytest.raises(BadHeader):
        parse(second(0x21, 0x11, bytes(LONGEST))[:16])


def test_what_does_not_tell_an_address_leaves_that_of_the_connection() -> None:
    for text in (second(0x20, 0x11, INET), second(0x21, 0x00, b"anything"), second(0x21, 0x12, INET)):
        assert parse(text) == Header(len(text), None)
    assert parse(second(0x21, 0x31, bytes(216))) == Header(232, Pair("unix", 0, "unix", 0))


def test_tlvs_are_skipped_and_the_checksum_is_verified() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    body = INET + b"\x01\x00\x02h2" + b"\x03\x00\x04"
    whole = crc32c(second(0x21, 0x11, body + bytes(4)))
    good = second(0x21, 0x11, body + struct.pack("!I", whole))
    assert parse(good) == Header(len(good), CLIENT)
    for broken in (good[:-1] + bytes([good[-1] ^ 1]), good[:16] + b"\x0a" + good[17:]):
        with pytest.raises(BadHeader):
            parse(broken)
    with pytest.raises(BadHeader):
        parse(second(0x21, 0x11, body + bytes(4) + b"\x03\x00\x04" + bytes(4)))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: SIGNATURE + b"\x21" + tail))
@settings(max_examples=300)
def test_any_bytes_are_a_header_or_refused_or_wait(data: bytes) -> None:
    try:
        found = parse(data)
    except BadHeader:
        return
    assert found is None or 0 < found.size <= len(data)


def test_two_families_become_one_and_a_wrapped_address_is_unwrapped() -> None:
    found = parse(encode("v2", Pair("192.0.2.1", 1, "2001:db8::1", 2)))
    assert found is not None
    assert found.pair is not None
    assert plain_host(found.pair.source) == "192.0.2.1"
    assert plain_host("2001:db8::1") == "2001:db8::1"
    assert encode("v2", Pair("unix", 0, "unix", 0)) == encode("v2", None) == second(0x20, 0, b"")
