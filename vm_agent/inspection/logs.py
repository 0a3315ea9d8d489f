"""What grows: access logs, what sidecars write to standard error, the journal, and the agent's own state.

Releases count for the size of the state and not for its growth: they come at once, and old ones are removed.

Which access logs there are tells ``GET /status``; paths are looked at as the sidecar sees them, since a unit may have
a /tmp of its own. Between two patrols is how fast they grow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vm_agent.inspection.findings import Finding, Severity, size, span
from vm_agent.inspection.subject import Subject

LARGE: Final = 1 << 30
"""Bytes from which a log is a warning."""
LARGE_JOURNAL: Final = 4 << 30
"""Bytes: what journald keeps at most unless it is told otherwise, journald.conf(5)."""
LARGE_STATE: Final = 10 << 30
DAY: Final = 86400.0
_FAST: Final = 2 * 3600.0  # seconds until a disk is full, from which it is an error
_LEAST_SECONDS: Final = 30.0  # between two looks that say anything of growth
_LEAST_BYTES: Final = 1 << 20  # of growth that counts
_MOST_FILES: Final = 200_000
JOURNALS: Final = (Path("/var/log/journal"), Path("/run/log/journal"))


@dataclass(frozen=True)
class Log:
    """One file, or one directory with all that is in it."""

    path: str
    bytes: int
    free: int
    """On its disk."""
    at: float
    """When it was looked at, monotonic seconds."""
    dropped: int = 0
    """Lines that were lost, since the generation began."""
    gone: bool = False
    """There is no such file, and somebody writes to it."""
    steps: int = 0
    """Of these bytes, those that come and go at once and so say nothing of growth."""
    limit: int = LARGE
    remedy: str = ""


def look(one: Subject, now: float, proc: Path = Path("/proc")) -> list[Log]:
    """The access logs of one sidecar."""
    root = proc / str(one.pid) / "root"
    seen = bool(one.pid) and os.access(root, os.X_OK)
    found = []
    for entry in one.told.of_server("access_logs") if one.told is not None else ():
        target, dropped = str(entry.get("to")), entry.get("dropped")
        dropped = dropped if isinstance(dropped, int) else 0
        path = root / target.lstrip("/") if seen else Path(target)
        if not target.startswith("/"):
            found.append(Log(target, 0, 0, now, dropped))
            continue
        try:
            bytes_there, free = path.stat().st_size, _free(path)
        except FileNotFoundError:
            found.append(Log(target, 0, 0, now, dropped, gone=seen))
        except OSError:
            found.append(Log(target, 0, 0, now, dropped))
        else:
            found.append(Log(target, bytes_there, free, now, dropped, remedy=_rotate(target, one.pid)))
    return found


def look_at_machine(state: Path, written: Iterable[Path], now: float) -> list[Log]:
    """The state, the journal, and files that the agent has sidecars write to."""
    found = [Log(str(path), path.stat().st_size, _free(path), now) for path in written if path.exists()]
    keep = "lower `releases.keep`, and remove sidecars and releases that nobody needs"
    releases = _below(state / "releases")
    found.append(Log(str(state), _below(state), _free(state), now, steps=releases, limit=LARGE_STATE, remedy=keep))
    vacuum = "journalctl --vacuum-size=1G now; SystemMaxUse= in journald.conf for good"
    there = [path for path in JOURNALS if path.is_dir()]
    return found + [
        Log(str(path), _below(path), _free(path), now, limit=LARGE_JOURNAL, remedy=vacuum) for path in there
    ]


def _below(path: Path) -> int:
    """Bytes on the disk, of the first so many files."""
    total = count = 0
    for folder, _, files in os.walk(path):
        for name in files:
            count += 1
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118  many
            except OSError:
                continue
        if count > _MOST_FILES:
            break
    return total


def _free(path: Path) -> int:
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize


def _rotate(target: str, pid: int) -> str:
    return f"mv {target} {target}.1 && kill -USR1 {pid}, and have logrotate(8) do so; or log less: `access_log`"


def later(before: Mapping[str, Log], found: Iterable[Log]) -> dict[str, Log]:
    """What the next patrol compares with: what was looked at just before says nothing of growth, and is kept."""
    kept = {one.path: before[one.path] for one in found if one.path in before}
    fresh = {one.path: one for one in found}
    return fresh | {path: past for path, past in kept.items() if fresh[path].at - past.at < _LEAST_SECONDS}


def judge(sidecar: str, found: Iterable[Log], before: Mapping[str, Log]) -> Iterator[Finding]:
    """`before`: the same at an earlier patrol, by path; nothing is said of growth without it."""
    for log in found:
        past = before.get(log.path)
        severity, text = _volume(log, past)
        if log.gone:
            severity, text = "warning", f"{log.path} was removed, and is written to all the same: nobody can read that"
        lost = 0 if past is None else log.dropped - past.dropped
        if lost > 0:
            text = "; ".join(
                filter(None, (text, f"{lost} lines were lost since the last patrol: its disk is too slow"))
            )
            severity = severity or "warning"
        if severity is not None:
            remedy = "kill -USR1 of the serving process opens it anew" if log.gone else log.remedy
            yield Finding(
                sidecar=sidecar,
                severity=severity,
                what="log_volume",
                place=log.path,
                text=text,
                remedy=remedy or "log less, or to a faster disk: `access_log` of the configuration",
            )


def _volume(log: Log, past: Log | None) -> tuple[Severity | None, str]:
    told = f"{log.path} has {size(log.bytes)}"
    severity: Severity | None = "warning" if log.bytes >= log.limit else None
    more = 0 if past is None else (log.bytes - log.steps) - (past.bytes - past.steps)
    if past is not None and log.at - past.at >= _LEAST_SECONDS and more >= _LEAST_BYTES:
        rate = more / (log.at - past.at)
        left = log.free / rate
        if left < DAY:
            told += f" and grows by {size(rate * 3600)} an hour: its disk is full in {span(left)}"
            severity = "error" if left < _FAST else "warning"
    return severity, told if severity else ""
