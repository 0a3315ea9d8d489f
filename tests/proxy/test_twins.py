"""Modules in C and their twins in Python, with the same results for anything they are given.

Where the proxy runs interpreted, both are the same, and what is left is that they do what they say.
"""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import octets, timers
from proxy.compiled import source
from proxy.http2 import huffman, packing
from proxy.http2.huffman_code import BadCode


def twin(name: str) -> Any:
    """The module in Python, whatever the proxy runs with."""
    spec = spec_from_loader(f"{name}_in_python", SourceFileLoader(f"{name}_in_python", str(source(name))))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OCTETS, TIMERS = twin("proxy.octets"), twin("proxy.timers")
PACKING, HUFFMAN = twin("proxy.http2.packing"), twin("proxy.http2.huffman")


@given(st.binary(max_size=50), st.data())
def test_pieces(data: bytes, draw: st.DataObject) -> None:
    end = draw.draw(st.integers(0, len(data)))
    start = draw.draw(st.integers(0, end))
    assert octets.cut(data, start, end) == OCTETS.cut(data, start, end) == data[start:end]


@given(st.integers(0, 2**64 - 1))
def test_digits(number: int) -> None:
    assert octets.hexadecimal(number) == OCTETS.hexadecimal(number) == b"%016x" % number


@given(st.integers(0, 2**24 - 1), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary())
def test_heads_of_frames(size: int, kind: int, flags: int, stream_id: int, before: bytes) -> None:
    head = packing.head(size, kind, flags, stream_id)
    assert head == PACKING.head(size, kind, flags, stream_id)
    assert len(head) == 9
    data, at = before + head, len(before)
    assert packing.front(data, at) == PACKING.front(data, at) == size << 16 | kind << 8 | flags
    assert packing.stream_of(data, at) == PACKING.stream_of(data, at) == stream_id


@given(st.binary(min_size=9, max_size=12))
def test_any_head_of_a_frame(data: bytes) -> None:
    for at in range(len(data) - 8):
        assert packing.front(data, at) == PACKING.front(data, at)
        assert packing.stream_of(data, at) == PACKING.stream_of(data, at)


def decoded(module: Any, coded: bytes) -> object:
    """The string, or why there is none."""
    try:
        return module.decode(coded)
    except BadCode as why:
        return str(why)


@given(st.binary(max_size=100) | st.binary(min_size=600, max_size=700))
def test_strings(text: bytes) -> None:
    coded = huffman.encode(text)
    assert coded == HUFFMAN.encode(text)
    assert huffman.encoded_length(text) == HUFFMAN.encoded_length(text) == len(coded)
    assert huffman.decode(coded) == HUFFMAN.decode(coded) == text


@given(st.binary(max_size=100))
def test_any_coded_string(coded: bytes) -> None:
    assert decoded(huffman, coded) == decoded(HUFFMAN, coded)


def test_every_two_bytes_of_a_coded_string() -> None:
    for number in range(65536):
        coded = number.to_bytes(2, "big")
        assert decoded(huffman, coded) == decoded(HUFFMAN, coded)


@pytest.mark.parametrize("size", [0, 1, 639, 640, 641, 5000])
def test_strings_of_any_length(size: int) -> None:
    text = bytes(number * 7 & 0xFF for number in range(size))
    assert huffman.decode(huffman.encode(text)) == text
    assert decoded(huffman, b"\xff" * size) == decoded(HUFFMAN, b"\xff" * size)


MOMENT = st.floats(0, 100) | st.integers(0, 5).map(float)


@given(st.lists(st.tuples(MOMENT, st.integers(0, 20)) | MOMENT | st.just("rebuild")))
def test_alarms(steps: list[Any]) -> None:
    ours, other = timers.Alarms(), TIMERS.Alarms()
    planned: dict[int, float] = {}
    for step in steps:
        if isinstance(step, tuple):
            when, serial = step
            planned[serial] = when
            ours.plan(when, serial)
            other.plan(when, serial)
        elif step == "rebuild":
            living: Any = [SimpleNamespace(alarm=when, serial=serial) for serial, when in planned.items()]
            ours.rebuild(living)
            other.rebuild(living)
        else:
            assert ours.past(step) == other.past(step)
        assert len(ours) == len(other)
        assert ours.next() == other.next()
    assert ours.past(1000.0) == other.past(1000.0)
