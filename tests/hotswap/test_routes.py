"""What a generation tells of how it came about."""

from __future__ import annotations

from hotswap.chain import Chain, Record
from hotswap.routes import inherited_upgrade


def chain(how: str, listeners: int = 0) -> Chain:
    made = Chain()
    made.add(Record(4, "1.0", "b", "c", [], "/", 1, 0.0, how, listeners=listeners, connections=9, downtime_ms=2.0))
    return made


def test_a_cold_start_followed_no_upgrade() -> None:
    assert inherited_upgrade(chain("cold")) is None
    assert inherited_upgrade(Chain()) is None


def test_an_upgrade_is_told_by_its_successor() -> None:
    told = inherited_upgrade(chain("upgrade", listeners=3))
    assert told is not None
    assert (told["ok"], told["generation"], told["connections"], told["downtime_ms"]) == (True, 4, 9, 2.0)


def test_figures_that_never_came_are_not_zero() -> None:
    told = inherited_upgrade(chain("upgrade"))
    assert told is not None
    assert told["ok"]
    assert "connections" not in told


def test_a_source_that_died_is_no_success() -> None:
    told = inherited_upgrade(chain("crash"))
    assert told is not None
    assert (told["ok"], told["exit_code"]) == (False, 18)
