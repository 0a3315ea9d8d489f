"""Idle upstream connections."""

from __future__ import annotations

from proxy.plane import Plane
from proxy.pool import Pool
from proxy.sides import Upstream


def idle(serial: int) -> Upstream:
    plane = Plane()
    plane.now = 0.0
    connection = Upstream(plane)
    connection.serial = serial
    return connection


def test_most_recently_used_is_taken_first() -> None:
    pool = Pool(limit=3, keepalive=60.0)
    first, second = idle(1), idle(2)
    assert pool.acquire() is None
    assert pool.release(first)
    assert pool.release(second)
    assert pool.connections() == [first, second]
    assert pool.acquire() is second
    assert second not in pool
    assert first in pool
    assert pool.acquire() is first
    assert pool.acquire() is None


def test_full_pool_takes_no_more() -> None:
    pool = Pool(limit=1, keepalive=60.0)
    assert pool.release(idle(1))
    assert not pool.release(idle(2))
    assert len(pool) == 1


def test_connection_that_ended_is_not_given_out() -> None:
    pool = Pool(limit=2, keepalive=60.0)
    gone = idle(1)
    pool.release(gone)
    pool.discard(gone)
    pool.discard(gone)
    assert pool.acquire() is None


def test_restored_membership_follows_the_state_beyond_the_limit() -> None:
    pool = Pool(limit=1, keepalive=60.0)
    first, second = idle(1), idle(2)
    for connection in (first, second, first):
        pool.restore(connection, idle=True)
    assert len(pool) == 2
    pool.restore(second, idle=False)
    assert pool.connections() == [first]
