"""The header map."""

from __future__ import annotations

import pytest

from proxy.bolt.headers import read_headers
from tests.kit.bolt import headers
from tests.proxy.bolt.scene import Captured, captured


@pytest.mark.parametrize("one", captured(), ids=lambda one: f"{one.kind}-{one.number}")
def test_captured_header_is_read(one: Captured) -> None:
    pairs = {
        name.lower().encode(): value.encode() for name, value in one.header if name is not None and value is not None
    }
    start = {(1, "REQ"): 22, (2, "REQ"): 24, (1, "RESP"): 20, (2, "RESP"): 22, (1, "ONEWAY"): 22, (2, "ONEWAY"): 24}
    at = start[one.proto, one.type] + len(one.class_name)
    end = len(one.frame) - len(one.content) // 2 - (4 if one.crc else 0)
    assert read_headers(one.frame[at:end]) == pairs


def test_names_have_no_case_and_the_last_value_counts() -> None:
    assert read_headers(headers(Service="a") + headers(service="b")) == {b"service": b"b"}


def test_a_pair_with_a_null_is_skipped() -> None:
    null = b"\xff\xff\xff\xff"
    assert read_headers(null + null + headers(a="b")[:5] + null + headers(service="s")) == {b"service": b"s"}


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\5abc", headers(a="b")[:-1], headers(a="b") + b"\0\0\0\1x"])
def test_a_map_that_does_not_come_out_even_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        read_headers(data)
