"""Values are skipped to the byte, whatever they are; what is no Hessian is refused, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dubbo import hessian
from proxy.dubbo.hessian import Reader, write_text
from tests.kit import hessian as kit
from tests.proxy.dubbo.scene import Captured, captured


@settings(max_examples=80, deadline=None)
@given(values=st.lists(kit.VALUES, max_size=4), behind=st.binary(max_size=5))
def test_values_of_every_form_are_skipped(values: list[bytes], behind: bytes) -> None:
    reader = Reader(b"".join(values) + behind)
    for number in range(len(values)):
        reader.skip()
        assert reader.at == sum(map(len, values[: number + 1]))
    again = Reader(b"".join(values) + behind)
    again.skip(len(values))
    assert again.at == reader.at


@settings(max_examples=50, deadline=None)
@given(value=kit.VALUES, cut=st.integers(0, 10_000))
def test_a_cut_value_is_refused(value: bytes, cut: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reader(value[: cut % len(value)]).skip()


@given(value=kit.TEXTS, form=kit.FORM, behind=st.binary(max_size=3))
def test_texts_are_read_and_written(value: str, form: int, behind: bytes) -> None:
    for encoded in (kit.text(value, form), write_text(value.encode())):
        reader = Reader(encoded + behind)
        assert reader.is_text
        assert reader.text().decode() == value
        assert reader.at == len(encoded)


@pytest.mark.parametrize("length", [0, 31, 32, 1023, 1024, 65535])
@pytest.mark.parametrize("character", ["a", "\u00e9", "\u6c34", "\U0001f30a"])
def test_texts_of_all_lengths(length: int, character: str) -> None:
    value = character * (length // len(character.encode("utf-16-be")) * 2)
    reader = Reader(write_text(value.encode()) + b"\x90")
    assert reader.text().decode() == value
    assert reader.body[reader.at :] == b"\x90"


def test_objects_have_as_many_values_as_their_class_has_fields() -> None:
    body = kit.definition(["a", "b"]) + kit.instance(0, [b"N", b"T"], 0)
    body += kit.definition([]) + kit.instance(1, [], 1) + kit.instance(0, [kit.instance(1, [], 0), b"F"], 1)
    reader = Reader(body + b"\x90")
    reader.skip(3)
    assert reader.at == len(body)


@pytest.mark.parametrize("number", [-1, 2, 15])
def test_an_object_of_no_class_is_refused(number: int) -> None:
    body = kit.definition(["a"]) + kit.instance(0, [b"N"], 0) + b"O" + kit.integer(number)
    with pytest.raises(ValueError, match="not defined"):
        Reader(body).skip(2)


@pytest.mark.parametrize(
    "one", [one for one in captured() if not one.event], ids=lambda one: f"{one.kind}-{one.number}"
)
def test_bodies_of_real_peers_are_skipped_to_their_end(one: Captured) -> None:
    reader = Reader(one.frame[16:])
    while not reader.ended:
        reader.skip()
    assert reader.at == one.len


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"W" * 2000, "too deep"),
        (b"W" + b"N" * 200_000 + b"Z", "too many values"),
        (b"X" + kit.integer(1 << 30), "out of range"),
        (b"X" + kit.integer(-1), "out of range"),
        (b"C\1a" + kit.integer(1001), "out of range"),
        ((b"C\1a\x90" * 1001) + b"\x60", "too many classes"),
        (b"R\0\0" * 200_000 + b"\0", "too many values"),
        (b"A\0\0" * 200_000 + b"B\0\0", "too many values"),
        (b"\x40", "begins no value"),
        (b"Z", "begins no value"),
        (b"\1\xc3", "cut"),
        (b"\2\xf0\x9f\x8c", "cut"),
        (b"\1\xf0\x9f\x8c\x8a", "character is cut"),
        (b"A\0\1x\x90", "do not end"),
        (b"M\x40", "no number"),
    ],
)
def test_what_is_out_of_bounds_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Reader(body).skip()


def test_bounds_hold_for_a_body_not_for_a_value() -> None:
    half = b"X" + kit.integer(hessian.MAX_VALUES // 2) + b"N" * (hessian.MAX_VALUES // 2)
    reader = Reader(half + half)
    reader.skip()
    with pytest.raises(ValueError, match="too many values"):
        reader.skip()


def test_a_text_too_long_to_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        write_text(b"x" * 65536)


@settings(max_examples=120, deadline=None)
@given(
    body=st.one_of(st.binary(max_size=200), st.lists(kit.VALUES, max_size=3).map(b"".join)),
    at=st.integers(0, 300),
    byte=st.integers(0, 255),
)
def test_any_bytes_are_skipped_or_refused(body: bytes, at: int, byte: int) -> None:
    damaged = bytearray(body)
    if damaged:
        damaged[at % len(damaged)] = byte
    reader = Reader(bytes(damaged))
    try:
        while not reader.ended:
            before = reader.at
            reader.skip()
            assert before < reader.at <= len(damaged)
    except ValueError:
        pass
