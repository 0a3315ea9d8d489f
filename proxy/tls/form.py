"""What both record layers agree on, in C and in Python: the form of a state (`twin_state` draws it), and bounds."""

from __future__ import annotations

import struct
from typing import Final

FORMAT: Final = 1
LARGEST_PLAIN: Final = 16384
"""Bytes of plaintext in a record, RFC 8446 section 5.1."""
REKEY_AT: Final = 1 << 23
"""Records under one key, TLS 1.3: RFC 8446 section 5.5 asks for less than 2**24.5 with AES-GCM."""

COUNT: Final = 8
TAG: Final = 16
OVERHEAD: Final = COUNT + TAG
"""Bytes that a vault adds to what it wraps."""
HEADER: Final = struct.Struct("!BBHHHQQQBB")
"""Of a state, in clear."""


def suite_of(state: bytes) -> int:
    """The number of the suite that a state is about. Raises `ValueError` if it is cut off."""
    if len(state) < HEADER.size + OVERHEAD:
        raise ValueError("the state is cut off")
    return int.from_bytes(state[4:6], "big")
