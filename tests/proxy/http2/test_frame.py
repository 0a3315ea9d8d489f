"""The format of frames, against another implementation."""

from __future__ import annotations

import hyperframe.frame as other
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http2 import frame
from proxy.http2.errors import NAMES, Broken, name_of


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (frame.settings([(1, 4096), (3, 128)]), other.SettingsFrame(settings={1: 4096, 3: 128})),
        (frame.SETTINGS_ACK, other.SettingsFrame(flags=["ACK"])),
        (frame.rst_stream(5, 8), other.RstStreamFrame(5, 8)),
        (frame.window_update(0, 70000), other.WindowUpdateFrame(0, 70000)),
        (frame.ping(b"12345678"), other.PingFrame(opaque_data=b"12345678")),
        (frame.ping(b"12345678", ack=True), other.PingFrame(opaque_data=b"12345678", flags=["ACK"])),
        (frame.goaway(7, 2, b"why"), other.GoAwayFrame(last_stream_id=7, error_code=2, additional_data=b"why")),
        (
            frame.headers(b"block", 3, end=True, most=16384),
            other.HeadersFrame(3, b"block", flags=["END_STREAM", "END_HEADERS"]),
        ),
        (frame.frame(frame.DATA, 1, 3, b"x" * 70000), other.DataFrame(3, b"x" * 70000, flags=["END_STREAM"])),
    ],
    ids=lambda one: type(one).__name__,
)
def test_frames_are_what_another_implementation_writes(ours: bytes, theirs: other.Frame) -> None:
    assert ours == theirs.serialize()


@given(st.binary(max_size=500), st.integers(1, 100), st.booleans())
def test_long_block_goes_on_in_continuations(block: bytes, most: int, end: bool) -> None:
    parts = list(frame.frames(frame.headers(block, 9, end=end, most=most)))
    assert b"".join(part[3] for part in parts) == block
    assert [kind for kind, _, _, _ in parts] == [frame.HEADERS] + [frame.CONTINUATION] * (len(parts) - 1)
    assert [bool(flags & frame.END_HEADERS) for _, flags, _, _ in parts] == [False] * (len(parts) - 1) + [True]
    assert [bool(flags & frame.END_STREAM) for _, flags, _, _ in parts] == [end] + [False] * (len(parts) - 1)
    assert {stream_id for _, _, stream_id, _ in parts} == {9}
    assert max(len(part[3]) for part in parts) <= most


@given(st.binary(max_size=50), st.integers(0, 255))
def test_padding_is_taken_away(body: bytes, padding: int) -> None:
    theirs = other.DataFrame(1, body, pad_length=padding, flags=["PADDED"]).serialize()
    ((_, flags, _, payload),) = frame.frames(theirs)
    assert frame.unpadded(payload, flags) == body


def test_priority_is_taken_away() -> None:
    theirs = other.HeadersFrame(1, b"block", pad_length=7, flags=["PADDED", "PRIORITY", "END_HEADERS"])
    theirs.depends_on = 3
    ((_, flags, _, payload),) = frame.frames(theirs.serialize())
    assert frame.block_of(payload, flags) == b"block"


@pytest.mark.parametrize(
    ("payload", "flags", "code"),
    [
        (b"", frame.PADDED, "FRAME_SIZE_ERROR"),
        (b"\5hello", frame.PADDED, None),
        (b"\6hello", frame.PADDED, "PROTOCOL_ERROR"),
        (b"\0\0\0\0", frame.WITH_PRIORITY, "FRAME_SIZE_ERROR"),
        (b"\1\0\0\0\0\0", frame.PADDED | frame.WITH_PRIORITY, "FRAME_SIZE_ERROR"),
    ],
)
def test_padding_and_priority_have_to_fit(payload: bytes, flags: int, code: str | None) -> None:
    if code is None:
        assert frame.block_of(payload, flags) == b""
        return
    with pytest.raises(Broken, match=code):
        frame.block_of(payload, flags)


def test_unknown_code_has_a_name_too() -> None:
    assert name_of(13) == NAMES[13] == "HTTP_1_1_REQUIRED"
    assert name_of(400) == "error 400"
