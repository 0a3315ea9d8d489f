"""Alarms: moments at which to look at a connection again."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from proxy.timers import Alarms

if TYPE_CHECKING:
    from proxy.connection import Connection


def test_moments_come_out_in_order_once_they_have_passed() -> None:
    alarms = Alarms()
    assert alarms.next() == inf
    for when, serial in [(3.0, 30), (1.0, 10), (2.0, 20)]:
        alarms.plan(when, serial)
    assert alarms.next() == 1.0
    assert alarms.past(0.5) == []
    assert alarms.past(2.0) == [(1.0, 10), (2.0, 20)]
    assert alarms.next() == 3.0


def test_rebuilding_drops_everything_else() -> None:
    alarms = Alarms()
    for serial in range(100):
        alarms.plan(float(serial), serial)
    living = [SimpleNamespace(alarm=alarm, serial=serial) for alarm, serial in ((7.0, 7), (5.0, 5), (inf, 9))]
    alarms.rebuild(cast("list[Connection]", living))
    assert len(alarms) == 2
    assert alarms.past(10.0) == [(5.0, 5), (7.0, 7)]
