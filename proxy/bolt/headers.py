"""The header map of a bolt request: pairs of texts, one after the other.

    i32 length, name, i32 length, value, ...        a length of -1 stands for null

A pair with a null in it is skipped, as Java does it. Of a name that is repeated the last value counts.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH: Final = Struct(">i")


def read_headers(data: bytes) -> dict[bytes, bytes]:
    """The map, names in lower case. Raises `ValueError` if it does not come out even."""
    found: dict[bytes, bytes] = {}
    at = 0
    end = len(data)
    while at < end:
        name, at = _text(data, at, end)
        value, at = _text(data, at, end)
        if name is not None and value is not None:
            found[name.lower()] = value
    return found


def write_headers(pairs: Iterable[tuple[bytes | None, bytes | None]]) -> bytes:
    """The map of these pairs, in their order."""
    texts = [text for pair in pairs for text in pair]
    return b"".join(_LENGTH.pack(-1) if text is None else _LENGTH.pack(len(text)) + text for text in texts)


def read_pairs(data: bytes) -> list[tuple[bytes | None, bytes | None]]:
    """All pairs as they are. Raises `ValueError`."""
    pairs = []
    at = 0
    end = len(data)
    while at < end:
        name, at = _text(data, at, end)
        value, at = _text(data, at, end)
        pairs.append((name, value))
    return pairs


def _text(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    if end - at < 4:
        raise ValueError("a length is cut off")
    length: int = _LENGTH.unpack_from(data, at)[0]
    at += 4
    if length < 0:
        return None, at
    if length > end - at:
        raise ValueError("a text is cut off")
    return data[at : at + length], at + length
