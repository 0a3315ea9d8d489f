"""When a window of a day is open. Pure: the time is an argument.

A window is a time on the wall: ``02:00-05:00`` is open whenever a clock there shows one of these three hours. Where
summer time begins or ends in it, it is shorter or longer that day; what falls into the hour that is left out does not
open, and what falls into the hour that comes twice opens twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_agent.spec.model import Window

_DAY = 24 * 60 * 60
_DAYS_AHEAD = 3  # tomorrow's may fall into the hour that is left out


def opens(window: Window | None, local: datetime) -> bool:
    """It is open at this local time: from the first minute on, and not in the last. None is always open."""
    if window is None:
        return True
    minute = local.hour * 60 + local.minute
    if window.begin < window.end:
        return window.begin <= minute < window.end
    return minute >= window.begin or minute < window.end


def seconds_until(window: Window | None, local: datetime) -> float:
    """Seconds until it opens, 0.0 if it is open.

    `local` without a time zone is in that of the machine, whose rules are known then; so are those of a
    `zoneinfo.ZoneInfo`. With a fixed offset (as ``datetime.now().astimezone()`` has) it is wrong by the shift where the
    clocks are changed before it opens: look again with `opens`.
    """
    if window is None or opens(window, local):
        return 0.0
    now, zone = local.timestamp(), local.tzinfo
    moments = (*_begins(window, local), *_shifts(now, zone))
    return min(moment for moment in moments if moment > now and opens(window, _clock(moment, zone))) - now


def _clock(moment: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(moment, zone)


def _begins(window: Window, local: datetime) -> Iterator[float]:
    """When a clock shows its beginning in the next days: once, or twice. One that is left out comes out elsewhere."""
    begin = time(window.begin // 60, window.begin % 60)
    for days in range(_DAYS_AHEAD):
        wall = datetime.combine(local.date() + timedelta(days=days), begin, tzinfo=local.tzinfo)
        yield wall.timestamp()
        yield wall.replace(fold=1).timestamp()  # PEP 495


def _shifts(now: float, zone: tzinfo | None) -> Iterator[float]:
    """When the clocks are changed in the next days, to the second: into a window, perhaps."""
    for day in range(_DAYS_AHEAD):
        before, after = int(now) + day * _DAY, int(now) + (day + 1) * _DAY
        if _offset(before, zone) == _offset(after, zone):
            continue
        changed = _offset(after, zone)
        while after - before > 1:
            middle = (before + after) // 2
            if _offset(middle, zone) == changed:
                after = middle
            else:
                before = middle
        yield after


def _offset(moment: int, zone: tzinfo | None) -> float:
    """Seconds that the clock on the wall is ahead of UTC."""
    return _clock(moment, zone).replace(tzinfo=UTC).timestamp() - moment
