"""Windows of a day, also over midnight and where summer time begins and ends (in Berlin)."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from vm_agent.spec.model import Window
from vm_agent.spec.window import opens, seconds_until

RULE = "CET-1CEST,M3.5.0,M10.5.0/3"


def zone(rule: str) -> ZoneInfo:
    """A zone by its rule alone (RFC 9636), for machines without tzdata."""
    part = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 3600, 0, 0) + b"CET\0"
    return ZoneInfo.from_file(io.BytesIO(part + part + f"\n{rule}\n".encode()), key="Berlin")


BERLIN = zone(RULE)
NIGHT = Window(2 * 60, 5 * 60)
OVER_MIDNIGHT = Window(22 * 60 + 30, 60)
SPRING, AUTUMN = (2026, 3, 29), (2026, 10, 25)  # 02:00 becomes 03:00; 03:00 becomes 02:00
HOUR = 3600.0


def at(
    hour: int, minute: int = 0, second: int = 0, day: tuple[int, int, int] = (2026, 6, 10), fold: int = 0
) -> datetime:
    return datetime(*day, hour, minute, second, tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("window", "moment", "open_"),
    [
        (NIGHT, at(1, 59, 59), False),
        (NIGHT, at(2), True),
        (NIGHT, at(4, 59, 59), True),
        (NIGHT, at(5), False),
        (NIGHT, at(14), False),
        (OVER_MIDNIGHT, at(22, 29), False),
        (OVER_MIDNIGHT, at(22, 30), True),
        (OVER_MIDNIGHT, at(0), True),
        (OVER_MIDNIGHT, at(0, 59), True),
        (OVER_MIDNIGHT, at(1), False),
        (Window(20 * 60, 0), at(23, 59), True),
        (Window(20 * 60, 0), at(0), False),
        (None, at(14), True),
    ],
)
def test_open_from_the_first_minute_until_before_the_last(window: Window | None, moment: datetime, open_: bool) -> None:
    assert opens(window, moment) is open_
    assert (seconds_until(window, moment) == 0.0) is open_


@pytest.mark.parametrize(
    ("window", "moment", "seconds"),
    [
        (NIGHT, at(1, 59, 30), 30.0),
        (NIGHT, at(0), 2 * HOUR),
        (NIGHT, at(5), 21 * HOUR),
        (NIGHT, at(23), 3 * HOUR),
        (OVER_MIDNIGHT, at(1), 21.5 * HOUR),
        (OVER_MIDNIGHT, at(22, 29, 59), 1.0),
    ],
)
def test_seconds_until_it_opens(window: Window, moment: datetime, seconds: float) -> None:
    assert seconds_until(window, moment) == seconds


def test_night_in_which_summer_time_begins_is_an_hour_shorter() -> None:
    before = at(22, day=(2026, 3, 28))
    assert seconds_until(NIGHT, before) == 4 * HOUR  # at 02:00, which is 03:00
    assert seconds_until(Window(4 * 60, 300), before) == 5 * HOUR  # six by the clock on the wall


def test_beginning_that_is_left_out_is_where_the_clock_jumps() -> None:
    before = at(1, 30, day=SPRING)
    assert seconds_until(Window(2 * 60 + 30, 5 * 60), before) == HOUR / 2
    assert opens(Window(2 * 60 + 30, 5 * 60), at(3, day=SPRING))


def test_window_that_is_left_out_opens_the_day_after() -> None:
    inside = Window(2 * 60 + 15, 2 * 60 + 45)
    assert seconds_until(inside, at(1, day=SPRING)) == 24.25 * HOUR  # 25.25 by the clock on the wall


def test_night_in_which_summer_time_ends_is_an_hour_longer() -> None:
    assert seconds_until(Window(4 * 60, 300), at(22, day=(2026, 10, 24))) == 7 * HOUR
    assert seconds_until(NIGHT, at(22, day=(2026, 10, 24))) == 4 * HOUR


def test_hour_that_comes_twice_opens_twice() -> None:
    inside = Window(2 * 60 + 15, 2 * 60 + 45)
    assert seconds_until(inside, at(2, day=AUTUMN)) == HOUR / 4
    assert seconds_until(inside, at(2, 50, day=AUTUMN)) == 25 * 60
    assert seconds_until(inside, at(2, 50, day=AUTUMN, fold=1)) == 24 * HOUR - 35 * 60


@pytest.mark.parametrize("day", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize(
    "window", [NIGHT, OVER_MIDNIGHT, Window(150, 170), Window(180, 185), Window(119, 121)], ids=str
)
def test_it_is_the_first_minute_that_is_open(window: Window, day: tuple[int, int, int]) -> None:
    """Asked every quarter of an hour around a shift, beside a clock that is looked at every minute."""
    start = (datetime(*day, tzinfo=UTC) - timedelta(hours=30)).timestamp()
    clock = [opens(window, datetime.fromtimestamp(start + 60 * minute, BERLIN)) for minute in range(4 * 24 * 60)]
    for minute in range(0, 48 * 60, 15):
        asked = datetime.fromtimestamp(start + 60 * minute, BERLIN)
        assert seconds_until(window, asked) == 60 * (clock.index(True, minute) - minute), asked


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", RULE)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("machine_in_berlin")
def test_time_without_a_zone_is_that_of_the_machine_with_its_rules() -> None:
    before = at(1, 30, day=SPRING).replace(tzinfo=None)
    assert seconds_until(Window(2 * 60 + 30, 5 * 60), before) == HOUR / 2
    evening = at(22, day=(2026, 10, 24)).replace(tzinfo=None)
    assert seconds_until(Window(4 * 60, 300), evening) == 7 * HOUR


def test_fixed_offset_knows_no_shifts() -> None:
    assert seconds_until(NIGHT, datetime(2026, 6, 10, 1, 0, tzinfo=timezone(timedelta(hours=5)))) == HOUR
