"""Segments of tests, and the processes that come to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from shm_metrics import Registry, memory
from shm_metrics.segment import Segment
from tests.shm_metrics.children import ROOM, SMALL, close
from tests.shm_metrics.party import Party


@pytest.fixture
def registry() -> Iterator[Registry]:
    """With room for some processes, and little for definitions."""
    one = Registry.unnamed(ROOM)
    yield one
    close(one)


@pytest.fixture
def segment() -> Iterator[Segment]:
    one = Segment.made(memory.unnamed(), SMALL, 1)
    yield one
    one.close()


@pytest.fixture
def come(segment: Segment) -> Iterator[Callable[[], Party]]:
    """Another process comes."""
    there: list[Party] = []

    def come() -> Party:
        there.append(Party(segment.fd))
        return there[-1]

    yield come
    for one in there:
        one.die()
