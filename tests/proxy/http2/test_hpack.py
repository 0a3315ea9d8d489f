"""HPACK: the examples of RFC 7541 appendix C, another implementation, what is refused, and the value law."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import hpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http2 import literals
from proxy.http2.errors import Broken, Oversized
from proxy.http2.hpack import TABLE, Decoder, Encoder, Field, Never, TableState
from proxy.http2.huffman import QUICK
from proxy.http2.static_table import STATIC

MOST = 65536
LOCATION = b"https://www.example.com"
REQUESTS: list[list[Field]] = [
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]
RESPONSES: list[list[Field]] = [
    [
        (b":status", status),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:2%d GMT" % second),
        (b"location", LOCATION),
        *more,
    ]
    for status, second, more in (
        (b"302", 1, []),
        (b"307", 1, []),
        (
            b"200",
            2,
            [
                (b"content-encoding", b"gzip"),
                (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
            ],
        ),
    )
]
REQUEST_TABLES: list[list[Field]] = [
    [(b":authority", b"www.example.com")],
    [(b"cache-control", b"no-cache"), (b":authority", b"www.example.com")],
    [(b"custom-key", b"custom-value"), (b"cache-control", b"no-cache"), (b":authority", b"www.example.com")],
]
RESPONSE_TABLES: list[list[Field]] = [
    [RESPONSES[0][3], RESPONSES[0][2], RESPONSES[0][1], RESPONSES[0][0]],
    [RESPONSES[1][0], RESPONSES[0][3], RESPONSES[0][2], RESPONSES[0][1]],
    [RESPONSES[2][5], RESPONSES[2][4], RESPONSES[2][2]],
]


def hexes(*blocks: str) -> list[bytes]:
    return [bytes.fromhex(block) for block in blocks]


C3 = hexes(
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
C4 = hexes(
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
C5 = hexes(
    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    "4803333037c1c0bf",
    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738"
    "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
)
C6 = hexes(
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672"
    "c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
)


@pytest.mark.parametrize(
    ("blocks", "lists", "tables", "size"),
    [
        (C3, REQUESTS, REQUEST_TABLES, TABLE),
        (C4, REQUESTS, REQUEST_TABLES, TABLE),
        (C5, RESPONSES, RESPONSE_TABLES, 256),
        (C6, RESPONSES, RESPONSE_TABLES, 256),
    ],
    ids=["C.3", "C.4", "C.5", "C.6"],
)
def test_examples_of_appendix_c(
    blocks: list[bytes], lists: list[list[Field]], tables: list[list[Field]], size: int
) -> None:
    decoder = Decoder()
    decoder.load(TableState((), size, size))
    for block, fields, table in zip(blocks, lists, tables, strict=True):
        assert decoder.decode(block, MOST) == fields
        assert [field for field, _ in decoder.entries] == table
        assert decoder.filled == sum(len(name) + len(value) + 32 for name, value in table)


@pytest.mark.parametrize(
    ("block", "field", "enters", "never"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header"), True, False),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), False, False),
        ("100870617373776f726406736563726574", (b"password", b"secret"), False, True),
        ("82", (b":method", b"GET"), False, False),
    ],
    ids=["C.2.1", "C.2.2", "C.2.3", "C.2.4"],
)
def test_representations_of_appendix_c(block: str, field: Field, *, enters: bool, never: bool) -> None:
    decoder = Decoder()
    fields = decoder.decode(bytes.fromhex(block), MOST)
    assert fields == [field]
    assert bool(decoder.entries) is enters
    assert isinstance(fields[0], Never) is never


@pytest.mark.parametrize(
    ("value", "bits", "coded"),
    [(10, 5, b"\x0a"), (1337, 5, b"\x1f\x9a\x0a"), (42, 8, b"\x2a")],
    ids=["C.1.1", "C.1.2", "C.1.3"],
)
def test_integers_of_appendix_c(value: int, bits: int, coded: bytes) -> None:
    assert literals.integer(value, bits, 0) == coded


NAMES = st.sampled_from(
    [b":path", b":method", b":authority", b"x-a", b"x-b", b"cookie", b"authorization", b"date", b"traceparent", b"etag"]
)
VALUES = st.one_of(
    st.sampled_from([b"", b"GET", b"/", b"/index.html", b"v1", b"v2", b"a=b; long enough to enter it"]),
    st.binary(max_size=60),
    st.sampled_from([100, 1000, 4100]).map(lambda size: b"x" * size),
)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=10)
SIZES = st.sampled_from([None, None, None, 0, 60, 200, TABLE, 3 * TABLE])


def moved(one: Any) -> Any:
    state = msgspec.msgpack.encode(one.save())
    other = type(one)()
    other.load(msgspec.msgpack.decode(state, type=TableState))
    return other


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(LISTS, SIZES, st.booleans()), max_size=12))
def test_another_decoder_reads_what_ours_writes(talk: list[tuple[list[Field], int | None, bool]]) -> None:
    encoder = Encoder()
    still = Encoder()
    decoder = Decoder()
    other = hpack.Decoder(max_header_list_size=1 << 20)
    for fields, size, moves in talk:
        if size is not None:
            encoder.permit(size)
            still.permit(size)
            other.max_allowed_table_size = size
            decoder.permit(size)
        if moves:
            encoder, decoder = moved(encoder), moved(decoder)
        block = encoder.encode(fields)
        assert block == still.encode(fields)
        assert [tuple(field) for field in other.decode(block, raw=True)] == fields
        assert decoder.decode(block, 1 << 20) == fields
        assert [field for field, _ in decoder.entries] == [field for field, _ in encoder.entries]
        assert decoder.filled == encoder.filled == sum(size for _, size in encoder.entries) <= encoder.size <= TABLE


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(LISTS, st.booleans(), SIZES, st.booleans()), max_size=12))
def test_ours_reads_what_another_encoder_writes(talk: list[tuple[list[Field], bool, int | None, bool]]) -> None:
    other = hpack.Encoder()
    decoder = Decoder()
    decoder.permit(3 * TABLE)
    for fields, huffman, size, moves in talk:
        if size is not None:
            other.header_table_size = size
        if moves:
            decoder = moved(decoder)
        block = other.encode(fields, huffman=huffman)
        assert decoder.decode(block, 1 << 20) == fields
        assert len(decoder.entries) == len(other.header_table.dynamic_entries)


def test_static_table_is_that_of_appendix_a() -> None:
    assert STATIC[1:] == hpack.table.HeaderTable.STATIC_TABLE


def test_field_that_came_as_never_indexed_leaves_so() -> None:
    fields = Decoder().decode(bytes.fromhex("100870617373776f726406736563726574"), MOST)
    encoder = Encoder()
    for _ in range(2):
        block = encoder.encode(fields)
        assert block[0] & 0xF0 == 0x10
        again = Decoder().decode(block, MOST)
        assert again == fields
        assert isinstance(again[0], Never)
    encoder.encode([(b"password", b"secret")])  # by others it may be indexed
    assert encoder.encode(fields)[0] & 0xF0 == 0x10


@pytest.mark.parametrize(
    "field",
    [
        (b"authorization", b"Bearer x"),
        (b"proxy-authorization", b"Basic x"),
        (b"set-cookie", b"a=b"),
        (b"cookie", b"short=1"),
    ],
)
def test_secret_is_never_indexed(field: Field) -> None:
    encoder = Encoder()
    block = encoder.encode([field])
    assert block[0] & 0xF0 == 0x10
    assert not encoder.entries
    assert field not in literals.FIXED
    assert field[1] not in literals._strings


def test_long_cookie_and_unknown_field_enter_the_table() -> None:
    encoder = Encoder()
    fields = [(b"cookie", b"session=0123456789abcdef"), (b"x-own", b"1")]
    first = encoder.encode(fields)
    assert len(encoder.encode(fields)) == 2 < len(first)


def test_reduced_table_is_announced_with_its_least_size() -> None:
    encoder = Encoder()
    encoder.encode([(b"x-a", b"1")])
    encoder.permit(0)
    encoder.permit(1000)
    block = encoder.encode([(b"x-a", b"1")])
    assert block.startswith(b"\x20" + literals.integer(1000, 5, 0x20))
    decoder = Decoder()
    decoder.permit(1000)
    assert decoder.decode(block, MOST) == [(b"x-a", b"1")]


def test_reduced_table_has_to_be_announced() -> None:
    decoder = Decoder()
    decoder.permit(100)
    with pytest.raises(Broken, match="COMPRESSION_ERROR"):
        decoder.decode(b"\x82", MOST)
    decoder.permit(100)
    assert decoder.decode(literals.integer(100, 5, 0x20) + b"\x82", MOST) == [(b":method", b"GET")]


BAD = {
    "index 0": b"\x80",
    "index out of range": b"\xbe",
    "index far out of range": b"\xff\xff\xff\x7f",
    "name out of range": b"\x7e\x01a",
    "integer without end": b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "integer of more than 28 bits": b"\xff\xff\xff\xff\xff\x01",
    "integer cut off": b"\xff\x80",
    "string cut off": b"\x40\x05abc",
    "string of a great length": b"\x40\x7f\xff\xff\xff\x7fabc",
    "value missing": b"\x40\x01a",
    "literal without anything": b"\x40",
    "table larger than permitted": b"\x3f\xe2\x1f",
    "table changes behind a field": b"\x82\x20",
    "EOS in a string": b"\x40\x84\xff\xff\xff\xff\x01a",
    "padding of zeros": b"\x40\x81\x00\x01a",
}


@pytest.mark.parametrize("block", BAD.values(), ids=BAD.keys())
def test_bad_block_is_a_compression_error(block: bytes) -> None:
    with pytest.raises(Broken, match="COMPRESSION_ERROR"):
        Decoder().decode(block, MOST)


def test_list_over_the_limit_is_read_to_its_end() -> None:
    decoder = Decoder()
    block = hpack.Encoder().encode([(b"x-a", b"x" * 100), (b"x-b", b"y" * 100)], huffman=False)
    with pytest.raises(Oversized):
        decoder.decode(block, 200)
    assert len(decoder.entries) == 2


def test_bomb_ends_before_memory_grows() -> None:
    """One field of 4,000 bytes in the table, referred to by 16,000 bytes: 64 MB."""
    decoder = Decoder()
    decoder.decode(hpack.Encoder().encode([(b"x", b"y" * 4000)], huffman=False), MOST)
    with pytest.raises(Broken, match="ENHANCE_YOUR_CALM"):
        decoder.decode(b"\xbe" * 16000, MOST)


def test_field_larger_than_the_table_empties_it() -> None:
    decoder = Decoder()
    decoder.decode(hpack.Encoder().encode([(b"x", b"y")], huffman=False), MOST)
    assert decoder.entries
    decoder.decode(b"\x40\x01a" + literals.integer(5000, 7, 0) + b"z" * 5000, MOST)
    assert not decoder.entries
    assert not decoder.filled


def test_memories_of_strings_are_bounded() -> None:
    encoder = Encoder()
    decoder = Decoder()
    for number in range(3000):
        fields = [(b":path", b"/%d" % number), (b"x-request-id", b"aaaa%d" % number), (b"x-a", b"aaaaa%d" % number)]
        assert decoder.decode(encoder.encode(fields), MOST) == fields
    from proxy.http2 import hpack as ours

    for number in range(20):
        block = b"\x10\x01a" + literals.string(b"abcdef%d" % number, memo=False)
        assert decoder.decode(block, MOST) == [(b"a", b"abcdef%d" % number)]
    assert QUICK or 0 < len(decoder._secrets) <= 4
    for memory in (literals.FIXED, literals._strings, *(() if QUICK else (ours._strings,))):
        assert 0 < len(memory) <= 1024


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_any_block_is_read_or_refused(blocks: list[bytes]) -> None:
    decoder = Decoder()
    for block in blocks:
        try:
            fields = decoder.decode(block, 1000)
        except Oversized:
            continue
        except Broken:
            return
        assert sum(len(name) + len(value) + 32 for name, value in fields) <= 1000
        assert decoder.filled <= decoder.size <= TABLE
        assert all(first[1] for first in pairwise(decoder.entries))
