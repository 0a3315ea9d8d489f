"""Values in Hessian 2.0, in every form that the specification has, written without a look at the proxy's reader."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st


def units(text: str) -> int:
    """The length of a text as Java counts it."""
    return len(text.encode("utf-16-be")) // 2


def text(value: str, form: int = 0) -> bytes:
    """A text; `form` chooses among those that fit."""
    raw, length = value.encode(), units(value)
    forms = [b"S" + struct.pack("!H", length) + raw]
    if length < 32:
        forms.append(bytes([length]) + raw)
    if length < 1024:
        forms.append(struct.pack("!H", 0x3000 | length) + raw)
    half = value[: len(value) // 2]
    rest = value[len(half) :]
    forms.append(
        b"R" + struct.pack("!H", units(half)) + half.encode() + b"S" + struct.pack("!H", units(rest)) + rest.encode()
    )
    return forms[form % len(forms)]


def integer(value: int) -> bytes:
    """An int in its shortest form."""
    if -16 <= value < 48:
        return bytes([0x90 + value])
    if -2048 <= value < 2048:
        return bytes([0xC8 + (value >> 8), value & 0xFF])
    if -262144 <= value < 262144:
        return bytes([0xD4 + (value >> 16), value >> 8 & 0xFF, value & 0xFF])
    return b"I" + struct.pack("!i", value)


def long(value: int) -> bytes:
    """A long in its shortest form."""
    if -8 <= value < 16:
        return bytes([0xE0 + value])
    if -2048 <= value < 2048:
        return bytes([0xF8 + (value >> 8), value & 0xFF])
    if -262144 <= value < 262144:
        return bytes([0x3C + (value >> 16), value >> 8 & 0xFF, value & 0xFF])
    if -(1 << 31) <= value < 1 << 31:
        return b"Y" + struct.pack("!i", value)
    return b"L" + struct.pack("!q", value)


def binary(value: bytes, form: int = 0) -> bytes:
    """Bytes; `form` chooses among those that fit."""
    forms = [b"B" + struct.pack("!H", len(value)) + value]
    if len(value) < 16:
        forms.append(bytes([0x20 + len(value)]) + value)
    if len(value) < 1024:
        forms.append(struct.pack("!H", 0x3400 | len(value)) + value)
    half = len(value) // 2
    forms.append(
        b"A" + struct.pack("!H", half) + value[:half] + b"B" + struct.pack("!H", len(value) - half) + value[half:]
    )
    return forms[form % len(forms)]


FORM = st.integers(0, 11)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LEAVES: st.SearchStrategy[bytes] = st.one_of(
    st.sampled_from([b"N", b"T", b"F", b"\x5b", b"\x5c", b"\x5d\x07", b"\x5e\x01\x02", b"\x5f\0\0\1\2"]),
    st.floats().map(lambda value: b"D" + struct.pack("!d", value)),
    st.integers(-(1 << 31), (1 << 31) - 1).map(integer),
    st.integers(-(1 << 63), (1 << 63) - 1).map(long),
    st.integers(-300_000, 300_000).map(long),
    st.integers(-300_000, 300_000).map(integer),
    st.integers(0, (1 << 32) - 1).map(lambda value: b"K" + struct.pack("!I", value)),
    st.integers(0, (1 << 63) - 1).map(lambda value: b"J" + struct.pack("!Q", value)),
    st.builds(text, TEXTS, FORM),
    st.builds(binary, st.binary(max_size=40), FORM),
    st.integers(0, 100).map(lambda number: b"Q" + integer(number)),
)


def _compound(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(compound, st.lists(values, max_size=6), st.integers(0, 7), FORM)


def compound(parts: list[bytes], kind: int, form: int) -> bytes:
    """A list, a map or an object of these parts. The class of an object is defined where it is used."""
    inner, size = b"".join(parts), len(parts)
    type_ = text("com.acme.Type", form) if form % 2 else integer(form)
    pairs = inner if size % 2 == 0 else inner + b"N"
    return [
        b"U" + type_ + inner + b"Z",
        b"V" + type_ + integer(size) + inner,
        b"W" + inner + b"Z",
        b"X" + integer(size) + inner,
        bytes([0x70 + size]) + type_ + inner,
        bytes([0x78 + size]) + inner,
        b"M" + type_ + pairs + b"Z",
        b"H" + pairs + b"Z",
    ][kind]


VALUES: st.SearchStrategy[bytes] = st.recursive(LEAVES, _compound, max_leaves=30)


def definition(fields: list[str]) -> bytes:
    """Of a class."""
    return b"C" + text("com.acme.Class") + integer(len(fields)) + b"".join(text(one) for one in fields)


def instance(number: int, parts: list[bytes], form: int) -> bytes:
    """Of the class that was defined as that number."""
    head = bytes([0x60 + number]) if number < 16 and form % 2 else b"O" + integer(number)
    return head + b"".join(parts)


def attachments(pairs: Any, form: int = 0) -> bytes:
    """A map of texts."""
    opened = b"H" if form % 2 == 0 else b"M" + text("java.util.HashMap")
    return opened + b"".join(text(name, form) + text(value, form) for name, value in pairs.items()) + b"Z"
