"""The Huffman code against RFC 7541 and another implementation."""

from __future__ import annotations

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from proxy.http2.huffman import decode, encode, encoded_length
from proxy.http2.huffman_code import CODES, BadCode

OTHER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def test_codes_are_those_of_appendix_b() -> None:
    assert [int(code, 2) for code in CODES] == list(REQUEST_CODES)
    assert [len(code) for code in CODES] == list(REQUEST_CODES_LENGTH)


@given(st.binary(max_size=200))
def test_another_encoder_writes_the_same(text: bytes) -> None:
    coded = encode(text)
    assert coded == OTHER.encode(text)
    assert len(coded) == encoded_length(text)
    assert decode(coded) == text


def test_every_symbol_beside_every_other() -> None:
    text = b"".join(bytes((one, other)) for one in range(256) for other in range(256))
    assert decode(encode(text)) == text


@pytest.mark.parametrize(
    ("coded", "why"),
    [
        (b"\xff\xff\xff\xff", "EOS"),
        (b"\x1c\x64\xff\xff\xff\xff", "EOS"),
        (b"\x00", "padding"),  # three bits of 0 behind "0"
        (b"\xff", "padding"),  # 8 bits of 1
        (encode(b"a") + b"\xff", "padding"),
        (b"\xff\xff", "padding"),
    ],
)
def test_eos_and_other_padding_are_refused(coded: bytes, why: str) -> None:
    with pytest.raises(BadCode, match=why):
        decode(coded)


@given(st.binary(max_size=64))
def test_any_bytes_are_decoded_or_refused(coded: bytes) -> None:
    try:
        text = decode(coded)
    except BadCode:
        return
    assert len(text) <= len(coded) * 8 // 5
    assert encode(text) == coded  # there is one way to write a text
