"""Streams of frames that are not what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proxy.simulation import Socket


@st.composite
def damaged(draw: st.DrawFn, frames: Sequence[bytes], most: int = 5) -> bytes:
    """At most so many frames, some of them with a byte altered, cut out or put in."""
    stream = bytearray()
    for frame in draw(st.lists(st.sampled_from(frames), min_size=1, max_size=most)):
        piece = bytearray(frame)
        how = draw(st.sampled_from(["whole", "whole", "alter", "cut", "insert"]))
        at = draw(st.integers(0, min(len(piece) - 1, 60)))
        if how == "alter":
            piece[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del piece[at]
        elif how == "insert":
            piece.insert(at, draw(st.integers(0, 255)))
        stream += piece
    return bytes(stream)


def feed(socket: Socket, data: bytes, cut: int) -> None:
    """Send it in two pieces, as long as there is somebody to take it."""
    for piece in (data[:cut], data[cut:]):
        if piece and not socket.closed:
            socket.send(piece)
