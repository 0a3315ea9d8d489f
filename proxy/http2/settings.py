"""What the two sides of a connection agree upon, and what we put up with."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.http2 import frame
from proxy.http2.errors import ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, Broken
from proxy.http2.hpack import TABLE

MOST_SETTINGS: Final = 64
"""Settings in one frame."""
UNLIMITED: Final = 2**32 - 1
AT_FIRST: Final = 100
"""Streams that a client opens before it knows how many the server permits."""


class Settings(msgspec.Struct, array_like=True):
    """One side's settings (RFC 9113 section 6.5.2). Rules of compatibility: `proxy.state`.

    Ours are what we sent, or will: a session keeps its own in a handover, whatever the configuration says by then.
    """

    streams: int = 128
    """MAX_CONCURRENT_STREAMS."""
    window: int = 131072
    """INITIAL_WINDOW_SIZE, bytes: what one stream may send before it is consumed."""
    connection: int = 524288
    """The same for all streams of the connection together; no setting, but sent by WINDOW_UPDATE. At least 65535."""
    frame: int = frame.LEAST_FRAME
    """MAX_FRAME_SIZE, bytes."""
    header_list: int = 65536
    """MAX_HEADER_LIST_SIZE, bytes with 32 more for each field."""
    table: int = TABLE
    """HEADER_TABLE_SIZE, bytes."""
    connect: bool = False
    """ENABLE_CONNECT_PROTOCOL (RFC 8441): of a server, it tunnels WebSocket."""


def unknown() -> Settings:
    """Of a peer that has not told any (section 6.5.2; but see `AT_FIRST`)."""
    return Settings(AT_FIRST, frame.WINDOW, frame.WINDOW, frame.LEAST_FRAME, UNLIMITED, TABLE)


def announced(ours: Settings, *, server: bool) -> list[tuple[int, int]]:
    """The pairs of our SETTINGS frame: what differs from the defaults."""
    pairs = []
    if server:
        pairs.append((frame.MAX_CONCURRENT_STREAMS, ours.streams))
        if ours.connect:
            pairs.append((frame.ENABLE_CONNECT_PROTOCOL, 1))
        pairs.append((frame.NO_RFC7540_PRIORITIES, 1))
    else:
        pairs.append((frame.ENABLE_PUSH, 0))
    if ours.window != frame.WINDOW:
        pairs.append((frame.INITIAL_WINDOW_SIZE, ours.window))
    if ours.frame != frame.LEAST_FRAME:
        pairs.append((frame.MAX_FRAME_SIZE, ours.frame))
    if ours.table != TABLE:
        pairs.append((frame.HEADER_TABLE_SIZE, ours.table))
    pairs.append((frame.MAX_HEADER_LIST_SIZE, ours.header_list))
    return pairs


def apply(theirs: Settings, pairs: list[tuple[int, int]], *, server: bool) -> None:
    """What a SETTINGS frame of the peer changes; `server`: the peer is one. Raises `Broken`. Unknown ones pass."""
    if len(pairs) > MOST_SETTINGS:
        raise Broken(ENHANCE_YOUR_CALM, "too many settings at once")
    for identifier, value in pairs:
        if identifier == frame.HEADER_TABLE_SIZE:
            theirs.table = value
        elif identifier == frame.ENABLE_PUSH:
            if value > 1 or (server and value):
                raise Broken(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1, or comes from a server")
        elif identifier == frame.MAX_CONCURRENT_STREAMS:
            theirs.streams = value
        elif identifier == frame.INITIAL_WINDOW_SIZE:
            if value > frame.LARGEST_WINDOW:
                raise Broken(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
            theirs.window = value
        elif identifier == frame.MAX_FRAME_SIZE:
            if not frame.LEAST_FRAME <= value <= frame.LARGEST_FRAME:
                raise Broken(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
            theirs.frame = value
        elif identifier == frame.MAX_HEADER_LIST_SIZE:
            theirs.header_list = value
        elif identifier == frame.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (theirs.connect and not value):
                raise Broken(PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1, or was taken back")
            theirs.connect = bool(value)
