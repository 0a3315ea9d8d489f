"""The bytes of a segment: what is written is what is read, and no part lies in another."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm_metrics.errors import SegmentCorrupt, SegmentForeign, SegmentNewer, SegmentRefused, SegmentTruncated
from shm_metrics.layout import HEAD, MAGIC, MOST_SLOTS, PAGE, SLOT, Geometry, checked, header

GEOMETRY = Geometry()
HUGE = 1 << 62

geometries = st.builds(
    Geometry,
    slots=st.integers(1, MOST_SLOTS),
    cells=st.integers(1, 2048).map(lambda n: 512 * n),
    definitions=st.integers(1, 4096).map(lambda n: PAGE * n),
)


def with_format(form: int) -> bytes:
    good = header(GEOMETRY, 1, 2)
    return good[:8] + struct.pack("=I", form) + good[12:]


@given(geometries, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_a_header_says_what_it_was_made_of(geometry: Geometry, made: int, random: int) -> None:
    assert checked(header(geometry, made, random), geometry.size(1)) == geometry


@given(geometries, st.integers(0, 5))
def test_no_part_lies_in_another(geometry: Geometry, block: int) -> None:
    assert geometry.blocks_at >= PAGE + SLOT * geometry.slots
    assert geometry.blocks_at % PAGE == geometry.block % PAGE == 0
    parts = [0, geometry.definitions]
    bases = [geometry.base_at(0), geometry.base_at(1)]
    areas = [geometry.cells_at(slot) for slot in range(geometry.slots)]
    assert [*bases, *areas] == [parts[1] + n * geometry.area for n in range(geometry.slots + 2)]
    assert areas[-1] + geometry.area == geometry.block
    assert geometry.size(block + 1) - geometry.size(block) == geometry.block
    assert all(at % PAGE == 0 for at in [*bases, *areas])  # memory is set aside in pages


@pytest.mark.parametrize("bit", range(48 * 8))
def test_no_bit_of_a_header_may_be_wrong(bit: int) -> None:
    damaged = bytearray(header(GEOMETRY, 1, 2))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SegmentRefused):
        checked(bytes(damaged), HUGE)


@pytest.mark.parametrize(
    ("head", "size", "refusal", "text"),
    [
        (b"", 0, SegmentTruncated, "it has 0 bytes, and a header alone has 4096"),
        (header(GEOMETRY, 1, 2)[:47], 47, SegmentTruncated, "it has 47 bytes"),
        (b"GIF89a" + bytes(60), HUGE, SegmentForeign, r"it begins with b'GIF89a\\x00\\x00', not with b'SHMETRIC'"),
        (HEAD.pack(MAGIC, 1, 0x04030201, 1, 512, 4096) + bytes(20), HUGE, SegmentForeign, "another byte order"),
        (with_format(2), HUGE, SegmentNewer, "its format is 2; this version knows 1"),
        (with_format(0), HUGE, SegmentCorrupt, "its header is damaged"),
        (header(Geometry(0), 1, 2), HUGE, SegmentCorrupt, "its header is damaged"),
        (header(Geometry(MOST_SLOTS + 1), 1, 2), HUGE, SegmentCorrupt, "its header is damaged"),
        (header(Geometry(cells=513), 1, 2), HUGE, SegmentCorrupt, "its header is damaged"),
        (header(Geometry(definitions=4097), 1, 2), HUGE, SegmentCorrupt, "its header is damaged"),
        (header(GEOMETRY, 1, 2), GEOMETRY.size(1) - 1, SegmentTruncated, "instead of 602112 or more"),
    ],
)
def test_what_is_refused_and_why(head: bytes, size: int, refusal: type[SegmentRefused], text: str) -> None:
    with pytest.raises(refusal, match=text) as raised:
        checked(head, size)
    assert type(raised.value) is refusal
