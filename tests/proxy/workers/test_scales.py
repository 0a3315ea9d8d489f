from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from proxy.portion import Portion
from proxy.workers.scales import BELATED, SLACK, Scales, made


@pytest.fixture
def three() -> Iterator[list[Scales]]:
    fd = made(3)
    yield [Scales(fd, number) for number in range(3)]
    os.close(fd)


def test_a_worker_with_more_than_another_leaves_a_client_to_it_once(three: list[Scales]) -> None:
    first, second, _ = three
    second.weigh(0)
    assert first.most(SLACK) == 1
    assert first.most(SLACK + 1) == 0
    assert first.looked_away
    assert first.most(SLACK + 1) == BELATED  # nobody came
    assert first.most(SLACK + 1) == 0


def test_nobody_waits_for_one_that_is_not_there(three: list[Scales]) -> None:
    first, second, _ = three
    assert first.most(1000) == 1
    second.weigh(0)
    assert first.most(1000) == 0
    first.most(1000)
    second.leave()
    assert first.most(1000) == 1


def test_many_connections_may_differ_by_more(three: list[Scales]) -> None:
    first, second, _ = three
    second.weigh(1600)
    assert first.most(1600 + 100 + SLACK) == 1
    assert first.most(1600 + 100 + SLACK + 1) == 0


@pytest.mark.parametrize("limit", [0, 1, 7, 8, 100])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_parts_of_a_limit_make_the_whole(limit: int, workers: int) -> None:
    parts = []
    for number in range(workers):
        portion = Portion()
        portion.be(number, workers)
        parts.append(portion.of(limit))
    assert sum(parts) == limit
    assert max(parts) - min(parts) <= 1
