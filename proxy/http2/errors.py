"""Error codes (RFC 9113 section 7), and what the layers below a connection raise.

Broken      the connection cannot go on: GOAWAY with this code
Malformed   one stream cannot go on: RST_STREAM with PROTOCOL_ERROR
Oversized   a header list over the limit, though the connection can go on
"""

from __future__ import annotations

from typing import Final

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

NAMES: Final = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


def name_of(code: int) -> str:
    """The code for people; peers may send unknown ones."""
    return NAMES[code] if code < len(NAMES) else f"error {code}"


class Broken(Exception):
    """The connection cannot go on. `code` goes into GOAWAY, `reason` is for people."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{name_of(code)}: {reason}")
        self.code = code
        self.reason = reason


class Malformed(Exception):
    """A message that is not taken (RFC 9113 section 8.1.1); its stream is reset."""


class Oversized(Exception):
    """A header list over the limit. It was read to its end, so the table is in step."""
