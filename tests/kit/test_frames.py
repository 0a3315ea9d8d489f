from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import websocket
from tests.kit.frames import Corrupt, FrameReader, FrameWriter

PAYLOADS = st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=6)


def chain(payloads: list[bytes]) -> list[bytes]:
    writer = FrameWriter()
    return [writer.frame(payload) for payload in payloads]


def arrived(data: bytes, count: int) -> bool:
    """Whether this many frames were accepted and nothing is left over."""
    reader = FrameReader()
    try:
        return len(reader.feed(data)) == count and not reader.partial
    except Corrupt:
        return False


@given(PAYLOADS, st.data())
def test_frames_arrive_however_they_are_cut(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(chain(payloads))
    cut = data.draw(st.integers(0, len(whole)))
    reader = FrameReader()
    assert reader.feed(whole[:cut]) + reader.feed(whole[cut:]) == payloads


@given(PAYLOADS, st.data())
def test_no_lost_doubled_or_altered_byte_passes(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(chain(payloads))
    at = data.draw(st.integers(0, len(whole) - 1))
    lost, doubled = whole[:at] + whole[at + 1 :], whole[:at] + whole[at : at + 1] + whole[at:]
    altered = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    assert not any(arrived(wrong, len(payloads)) for wrong in (lost, doubled, altered))


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 0, 1), (0, 2), (0, 1, 1)])
def test_no_lost_doubled_or_swapped_frame_passes(order: tuple[int, ...]) -> None:
    frames = chain([b"one", b"two", b"three"])
    with pytest.raises(Corrupt):
        FrameReader().feed(b"".join(frames[number] for number in order))


@given(st.binary(max_size=1000), st.sampled_from([b"", b"\1\2\3\4"]), st.integers(0, 1010))
def test_messages_arrive_however_they_are_cut(payload: bytes, mask: bytes, cut: int) -> None:
    whole = websocket.encode(websocket.BINARY, payload, mask)
    reader = websocket.MessageReader()
    messages = reader.feed(whole[:cut]) + reader.feed(whole[cut:])
    assert messages == [websocket.Message(websocket.BINARY, payload)]
