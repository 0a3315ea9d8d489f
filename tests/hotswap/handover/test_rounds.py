"""Batches of values: whatever the sizes, each message fits, and nothing is left out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from hotswap.handover import wire
from hotswap.handover.rounds import Copier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotswap.swappable import Swappable


class Sized:
    """A value with a state of so many bytes."""

    kind = "sized"
    fd = 0
    changes = 1

    def __init__(self, serial: int, size: int) -> None:
        self.serial = serial
        self.size = size

    def save(self, now: float) -> bytes:
        return bytes(self.size)


class Shelf:
    """As much of a server as a copier looks at."""

    def __init__(self, sizes: list[int]) -> None:
        self.shelf = {serial: Sized(serial, size) for serial, size in enumerate(sizes, 1)}

    def values(self) -> Mapping[int, Sized]:
        return self.shelf

    def staying(self) -> Mapping[int, str]:
        return {}

    def stragglers(self) -> tuple[int, ...]:
        return ()


SIZES = st.one_of(st.integers(0, 300), st.integers(3_000, 70_000), st.sampled_from([4096, 4097, 32768, 32769]))


@settings(max_examples=50, deadline=None)
@given(st.lists(SIZES, max_size=60))
def test_every_batch_fits_a_message(sizes: list[int]) -> None:
    copier = Copier(cast("Swappable", Shelf(sizes)))
    assert copier.begin() == len(sizes)
    copied = []
    while (batch := copier.next_batch(0.0)) is not None:
        assert len(wire.encode(batch.message)) <= wire.MAX_MESSAGE
        copied += [item.serial for item in batch.message.items]
        for memfd in batch.memfds:
            os.close(memfd)
    assert sorted(copied) == list(range(1, len(sizes) + 1))
