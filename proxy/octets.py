"""Bytes out of bytes and numbers: the twin in Python of octets.pyx."""

from __future__ import annotations

from binascii import hexlify


def cut(data: bytes, start: int, end: int) -> bytes:
    """The bytes from `start` up to `end`, which lies within."""
    return data[start:end]


def hexadecimal(number: int) -> bytes:
    """16 digits."""
    return hexlify(number.to_bytes(8, "big"))  # "%016x" takes longer by a third
