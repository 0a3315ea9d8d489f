"""That the benchmark measures what it says; never how fast anything is."""

from __future__ import annotations

import pytest

from tests.bench.http2_codec import KINDS, ROWS, measure, paired, talk


def test_every_row_is_measured() -> None:
    result = measure(1, 40)
    assert list(result) == list(KINDS)
    assert all(list(costs) == list(ROWS) for costs in result.values())
    assert all(cost > 0 for costs in result.values() for cost in costs.values())


@pytest.mark.parametrize("kind", KINDS)
def test_all_requests_are_answered(kind: str) -> None:
    asked, answered = talk(kind, 60)
    assert len(asked) == len(answered) == 3
    assert all(len(some) > 20 * 1024 for some in answered)
    _, server = paired()
    for some in asked:
        server.received(some, 0.0)
    assert server.take() == b"".join(answered)
    assert not server.streams
    assert not server.dead
