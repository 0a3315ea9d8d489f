"""How long the caller of a call says that it waits, in attachments, in milliseconds.

    timeout   Go, and Java 3; Java 2.6 and early 2.7 too, but those attach the time of the interface even to calls of a
              method that has a longer one
    _TO       Java since then, with ``enable-timeout-countdown``: the same, at most what is left to its own caller

Both are looked for by their bytes, and a text among the arguments may be taken for one of them. Because of that, and of
those that tell the time of the interface, they make the time of a call longer than `request_timeout` and never shorter:
a call that is kept for too long hurts nobody, one that is given up while its caller still waits does.
"""

from __future__ import annotations

from typing import Final

from proxy.dubbo.hessian import Reader

KEYS: Final = (b"\x07timeout", b"\x03_TO")
"""As all clients encode such short texts."""
MOST: Final = 0x7FFFFFFF
"""Milliseconds: a signed number to the peers."""
MOST_DIGITS: Final = 10
MOST_BYTES: Final = 5
"""Of an encoded number."""


def patience(buffer: bytes | bytearray, at: int, end: int) -> float:
    """Of the call whose body stands there, in seconds; 0 if it does not say."""
    longest = 0
    for key in KEYS:
        found = buffer.rfind(key, at, end)  # attachments are at the end
        if found >= 0:
            number = _number(buffer, found + len(key), end)
            longest = number if longest < number <= MOST else longest
    return longest * 0.001


def _number(buffer: bytes | bytearray, at: int, end: int) -> int:
    """What stands there, in digits or encoded as a number; 0 if it is neither."""
    digits = buffer[at] if at < end else 0
    if 0 < digits <= MOST_DIGITS:
        text = buffer[at + 1 : min(at + 1 + digits, end)]
        return int(text) if len(text) == digits and text.isdigit() else 0
    try:
        return Reader(bytes(buffer[at : min(at + MOST_BYTES, end)])).number()
    except ValueError:
        return 0
